/** What a person asks of this end of a shell, as with ssh: after a newline, `~` and one more key. */
export type Escape = 'close' | 'suspend' | 'help'

const TILDE = 0x7e
const NEWLINES: ReadonlySet<number> = new Set([0x0a, 0x0d])
const ESCAPES: ReadonlyMap<number, Escape> = new Map([
  [0x2e, 'close'],
  [0x1a, 'suspend'],
  [0x3f, 'help'],
])

export const ESCAPE_HELP = [
  'Escapes, each after a newline:',
  '  ~.   ends the connection',
  '  ~^Z  suspends tunnel',
  '  ~~   sends ~',
  '  ~?   this text',
]

/** Finds the escapes in what is typed; everything else is the shell's, byte for byte. */
export class EscapeReader {
  #state: 'at line start' | 'after tilde' | 'in line' = 'at line start'

  /** What `typed` holds, in order. */
  take(typed: Buffer): (Buffer | Escape)[] {
    const parts: (Buffer | Escape)[] = []
    let from = 0
    const keep = (to: number): void => {
      if (to > from) parts.push(typed.subarray(from, to))
    }
    for (let at = 0; at < typed.length; at++) {
      const byte = typed[at]!
      if (this.#state === 'after tilde') {
        const found = ESCAPES.get(byte)
        if (found === undefined) {
          // The tilde was held back; of two only one is meant.
          if (byte !== TILDE) parts.push(Buffer.of(TILDE))
          this.#state = NEWLINES.has(byte) ? 'at line start' : 'in line'
          from = at
          continue
        }
        parts.push(found)
        this.#state = 'at line start'
        from = at + 1
      } else if (this.#state === 'at line start' && byte === TILDE) {
        keep(at)
        this.#state = 'after tilde'
        from = at + 1
      } else {
        this.#state = NEWLINES.has(byte) ? 'at line start' : 'in line'
      }
    }
    keep(typed.length)
    return parts
  }
}
