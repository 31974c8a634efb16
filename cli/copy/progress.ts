import { byteText, visible } from '../output.ts'
import { tell } from '../prose.ts'

/** Between two looks of a person at it, in ms. */
const REDRAW_MS = 250
/** The rate is that of the last few seconds, in ms. */
const RATE_MS = 4_000

/** '0:07', '12:34', '3:04:05'. */
export function clockText(seconds: number): string {
  const whole = Math.max(0, Math.ceil(seconds))
  const [hours, minutes, rest] = [Math.floor(whole / 3_600), Math.floor(whole / 60) % 60, whole % 60]
  const two = (value: number): string => String(value).padStart(2, '0')
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`
}

export interface Standing {
  name: string
  doneBytes: number
  totalBytes: number
  /** Undefined while nothing is known. */
  bytesPerSecond: number | undefined
  /** What is to be told in place of rate and time. */
  note?: string
}

/** One line of at most `columns` characters, with what matters most where not all of it fits. */
export function progressLine(standing: Standing, columns: number): string {
  const { doneBytes, totalBytes, bytesPerSecond, note } = standing
  const share = totalBytes === 0 ? 1 : doneBytes / totalBytes
  // Of no bytes nothing is done while there is something else to tell.
  const percent = totalBytes === 0 && note !== undefined ? '' : `${Math.floor(share * 100)}%`
  const rate = bytesPerSecond === undefined ? '' : `${byteText(bytesPerSecond)}/s`
  const left = bytesPerSecond ? clockText((totalBytes - doneBytes) / bytesPerSecond) : ''
  const amount = `${byteText(doneBytes)} of ${byteText(totalBytes)}`
  const tails = (
    note === undefined
      ? [[percent, amount, rate, left], [percent, rate, left], [percent, left], [percent]]
      : [[percent, note], [note], [percent]]
  ).map((parts) => parts.filter((part) => part !== '').join('  '))
  const tail = tails.find((text) => text.length <= columns) ?? ''
  const name = cut(visible(standing.name), columns - tail.length - 2)
  return name === '' ? tail : `${name}  ${tail}`
}

/** The end of a name says most. Any character that is not ASCII may take two columns. */
function cut(name: string, columns: number): string {
  const characters = [...name]
  const width = (character: string): number => (character.codePointAt(0)! < 0x80 ? 1 : 2)
  let used = characters.reduce((sum, character) => sum + width(character), 0)
  if (used <= columns) return name
  if (columns < MIN_NAME) return ''
  let from = 0
  while (used > columns - 1) used -= width(characters[from++] ?? '')
  return `…${characters.slice(from).join('')}`
}

/** Less of a name says nothing, in columns. */
const MIN_NAME = 6

/** The progress of a copy on a terminal: one line, drawn again and again, and gone at the end. */
export class ProgressLine {
  readonly #output: NodeJS.WriteStream
  readonly #read: () => Omit<Standing, 'bytesPerSecond'>
  readonly #timer: NodeJS.Timeout
  readonly #samples: { atMs: number; doneBytes: number }[] = []
  #drawn = false

  /** @param read what is to be shown, asked for at each redraw */
  constructor(output: NodeJS.WriteStream, read: () => Omit<Standing, 'bytesPerSecond'>) {
    this.#output = output
    this.#read = read
    this.#timer = setInterval(() => this.#draw(), REDRAW_MS).unref()
  }

  /** Writes lines that stay, above the progress. */
  say(text: string): void {
    this.#clear()
    tell(`${text}\n`, this.#output)
  }

  /** Safe to call twice. */
  end(): void {
    clearInterval(this.#timer)
    this.#clear()
  }

  #draw(): void {
    const standing = this.#read()
    const line = progressLine(
      { ...standing, bytesPerSecond: this.#rate(standing.doneBytes) },
      // In the last column some terminals begin a new line.
      Math.max(1, (this.#output.columns || 80) - 1),
    )
    this.#clear()
    this.#output.write(line)
    this.#drawn = true
  }

  #clear(): void {
    if (this.#drawn) this.#output.write('\r\u001b[K')
    this.#drawn = false
  }

  #rate(doneBytes: number): number | undefined {
    const atMs = performance.now()
    this.#samples.push({ atMs, doneBytes })
    while ((this.#samples[0]?.atMs ?? atMs) < atMs - RATE_MS) this.#samples.shift()
    const [first] = this.#samples
    if (first === undefined || atMs - first.atMs < REDRAW_MS) return undefined
    return Math.max(0, doneBytes - first.doneBytes) / ((atMs - first.atMs) / 1_000)
  }
}
