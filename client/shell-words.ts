/** What no shell reads as anything but itself, wherever it stands in a word. */
const PLAIN_WORD = /^[\w@+:,./-][\w@%+=:,./-]*$/
/** What a shell may read even between single quotes: a quote, a backslash (fish), a history mark (csh). */
const QUOTED_ALONE = /(['\\!])/

/**
 * One word for any shell that sshd may start: POSIX shells, fish and csh. Between single quotes fish takes a backslash
 * for an escape, and csh a `!` for its history; a backslash before them means the same to all three. A line break within
 * a word is one to all but csh, which refuses the line.
 */
export function shellWord(word: string): string {
  if (PLAIN_WORD.test(word)) return word
  if (word === '') return "''"
  return word
    .split(QUOTED_ALONE)
    .map((part) => (part === '' ? '' : QUOTED_ALONE.test(part) ? `\\${part}` : `'${part}'`))
    .join('')
}
