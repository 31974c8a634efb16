const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
const VALUE_OF = new Map([...DIGITS].map((digit, value) => [digit, value]))

/**
 * Decodes the `mappings` of a source map (version 3). Lines and columns count from 0.
 * @param {string} mappings
 * @param {(line: number, column: number, source: number, sourceLine: number) => void} each
 */
export function decodeMappings(mappings, each) {
  let [source, sourceLine] = [0, 0]
  mappings.split(';').forEach((segments, line) => {
    let column = 0
    for (const segment of segments === '' ? [] : segments.split(',')) {
      const [columns, sources, lines] = decodeNumbers(segment)
      column += columns
      if (sources === undefined) continue // generated text without a source
      source += sources
      sourceLine += lines
      each(line, column, source, sourceLine)
    }
  })
}

/** Base64 VLQ: five bits a digit, the lowest first; the sign is the lowest bit of all. */
function decodeNumbers(segment) {
  const numbers = []
  let [value, shift] = [0, 0]
  for (const digit of segment) {
    const bits = VALUE_OF.get(digit)
    value += (bits & 31) << shift
    shift += 5
    if (bits & 32) continue
    numbers.push(value & 1 ? -(value >> 1) : value >> 1)
    value = shift = 0
  }
  return numbers
}
