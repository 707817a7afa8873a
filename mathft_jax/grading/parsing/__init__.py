"""Parser of final answers: LaTeX, Unicode or plain text to an expression tree.

  tokens = answer_tokenizer.tokenize_answer(r'\\frac{1}{2} + x')
  tree = answer_parser.parse_answer(tokens)

The lower modules read one construct each: `number_parser`, `identifiers`, `function_calls`,
`latex_structures`. `notation` and `english_words` contain the tables of spellings.
"""
