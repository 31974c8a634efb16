import { columnsOf, visible } from './output.ts'

const GAP = 2
/** In a pipe, what is longer than half of it does not move the columns of the other rows. */
const PIPE_COLUMNS = 80
/** Shares of the width: a cell that is longer goes on by itself, and the first share with which the columns fit is taken. */
const CAPS = [1 / 2, 2 / 5, 1 / 3]
/** What is left for the last column before rows become lists. */
const MIN_LAST = 8

/**
 * Rows under the first one's headings, as aligned columns, without trailing blanks, in lines of at most `width` columns.
 * Nothing is left out: a cell that is too long goes on to a line of its own, and where the columns do not fit at all,
 * each row becomes a list of headings and values. In a pipe each row is one line, however long, for grep and its like.
 */
export function table(given: readonly (readonly string[])[], width = columnsOf()): string {
  const rows = given.map((row) => row.map(visible))
  if (width === Number.POSITIVE_INFINITY) {
    const starts = startsOf(rows, PIPE_COLUMNS / 2)
    return `${rows.map((row) => inLine(row, starts).trimEnd()).join('\n')}\n`
  }
  const starts = CAPS.map((share) => startsOf(rows, width * share)).find(
    (each) => (each.at(-1) ?? 0) + MIN_LAST <= width,
  )
  const lines = starts === undefined ? asLists(rows, width) : rows.flatMap((row) => flow(row, starts, width))
  return `${lines.map((line) => line.trimEnd()).join('\n')}\n`
}

/** Where each column begins. A cell that is longer than `longest` is no measure for the others. */
function startsOf(rows: readonly string[][], longest: number): number[] {
  const starts = [0]
  for (let column = 0; column < (rows[0]?.length ?? 0) - 1; column++) {
    const lengths = rows.map((row) => row[column]!.length).filter((length) => length <= longest)
    starts.push(starts[column]! + Math.max(0, ...lengths) + GAP)
  }
  return starts
}

function inLine(row: readonly string[], starts: readonly number[]): string {
  return row.reduce((line, cell, column) => {
    const gap = column === 0 ? '' : ' '.repeat(GAP)
    return line.padEnd(Math.max(0, starts[column]! - GAP)) + gap + cell
  }, '')
}

function flow(row: readonly string[], starts: readonly number[], width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const [column, cell] of row.entries()) {
    const start = starts[column]!
    if (line.length > Math.max(0, start - GAP)) {
      lines.push(line)
      line = ''
    }
    if (start + cell.length <= width) line = line.padEnd(start) + cell
    else {
      if (line.trim() !== '') lines.push(line)
      const pieces = wrapped(cell, width - GAP).map((piece) => ' '.repeat(column === 0 ? 0 : GAP) + piece)
      lines.push(...pieces.slice(0, -1))
      line = pieces.at(-1)!
    }
  }
  return [...lines, line]
}

function asLists([headings = [], ...rows]: readonly string[][], width: number): string[] {
  return rows.flatMap((row, index) => {
    const fields = row.flatMap((cell, column) => {
      const heading = headings[column] ?? ''
      return wrapped(heading === '' ? cell : `${heading}: ${cell}`, width)
    })
    return index === 0 ? fields : ['', ...fields]
  })
}

function wrapped(text: string, width: number): string[] {
  const pieces = [text.slice(0, width)]
  for (let at = width; at < text.length; at += width) pieces.push(text.slice(at, at + width))
  return pieces
}
