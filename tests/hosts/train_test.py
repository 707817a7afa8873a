"""Trainings on several processes."""

RUN = ['-m', 'mathft_jax.train', '--gin_file=models/dials.gin', '--gin_file=data/generated.gin',
       '--gin_file=stages/ssft.gin', '--gin.INITIAL_CHECKPOINT_PATH=random', '--gin.TENSORBOARD=False',
       '--gin.generated.DialProblems.num_train=16', '--gin.TRAIN_STEPS=4', '--gin.BATCH_SIZE=8',
       '--gin.MAX_LENGTH=64', '--gin.WARMUP_STEPS=1']


def test_first(run_processes, tmp_path):
  for each in run_processes(2, 2, [*RUN, f'--gin.MODEL_DIR={tmp_path}']):
    print(each.output)
    assert each.status == 0
