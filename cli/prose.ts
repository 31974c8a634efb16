import { columnsOf } from './output.ts'

/** Colours take no column. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: it is what is meant.
const PAINT = /\u001b\[[\d;]*m/g
/** A command to copy: broken in two it could not be pasted. */
const COMMAND = /^\s*\$ /

/**
 * `text` in lines of at most `width` columns, broken at blanks. What follows a break is indented like its line, and by
 * `hang` more columns. A word that is longer than a line stays whole, as an address and a path do, and a command too.
 */
export function fold(text: string, width: number, hang = 0): string {
  if (width === Number.POSITIVE_INFINITY) return text
  return text
    .split('\n')
    .map((line) => foldLine(line, width, hang))
    .join('\n')
}

function foldLine(line: string, width: number, hang: number): string {
  const plain = line.replaceAll(PAINT, '')
  if (plain.length <= width || COMMAND.test(plain)) return line
  const [lead = ''] = /^\s*/.exec(line) ?? []
  // What is left for words must be worth it.
  const indent = Math.min(lead.length + hang, Math.floor(width / 2))
  const lines: string[] = []
  let current = lead
  let used = lead.length
  let isEmpty = true
  for (const [piece, blanks = '', word = ''] of line.slice(lead.length).matchAll(/(\s*)(\S+)/g)) {
    const columns = word.replaceAll(PAINT, '').length
    if (isEmpty || used + blanks.length + columns <= width) {
      current += isEmpty ? word : piece
      used += (isEmpty ? 0 : blanks.length) + columns
    } else {
      lines.push(current)
      current = ' '.repeat(indent) + word
      used = indent + columns
    }
    isEmpty = false
  }
  return [...lines, current].join('\n')
}

/** Writes prose, which a terminal shows in lines that fit. */
export function tell(text: string, stream: NodeJS.WriteStream = process.stdout, hang = 0): void {
  stream.write(fold(text, columnsOf(stream), hang))
}

/** The same on stderr. */
export function tellAside(text: string): void {
  tell(text, process.stderr)
}

/**
 * Paragraphs as help has them, of lines of 80 columns, for a terminal of `width`: where that is less, lines of one
 * paragraph are joined before they are folded, those that begin with a blank aside.
 */
export function refold(text: string, width: number): string {
  if (text.split('\n').every((line) => line.length <= width)) return text
  return fold(text.replaceAll(/(?<=\S)\n(?=\S)/g, ' '), width)
}
