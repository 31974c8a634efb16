import { UsageError } from '../failure.ts'

const WORD = /(?:[^\s'"]|'[^']*'|"[^"]*")+/g

/**
 * A command line as words: blanks part them, quotes of either kind hold them together. Nothing else has a meaning, neither
 * `$` nor `\`, which stands in the paths of Windows.
 */
export function wordsOf(line: string, source = 'the command'): string[] {
  const words = line.match(WORD) ?? []
  if (line.replaceAll(WORD, '').trim() !== '') throw new UsageError(`a quote in ${source} is not closed`)
  const plain = words.map((word) => word.replaceAll(/'([^']*)'|"([^"]*)"/g, '$1$2'))
  if (plain[0] === undefined || plain[0] === '') throw new UsageError(`${source} is empty`)
  return plain
}
