/** A mistake in a JSON text; the message quotes nothing of it, for it may hold a secret. */
export class JsonError extends Error {
  override readonly name = 'JsonError'
  /** From 1. */
  readonly line: number

  constructor(reason: string, line: number) {
    super(`line ${line}: ${reason}`)
    this.line = line
  }
}

export interface JsonText {
  value: unknown
  /** The line, from 1, of the value at `path`, or of what is nearest above it. */
  lineOf(path: readonly string[]): number
}

const MAX_DEPTH = 64
const TOKEN =
  /[ \t\r\n]*(?:([{}[\],:])|("(?:[^"\\\n\r]|\\.)*")|(-?\d[\d.eE+-]*|true|false|null)|($)|("|\S[^\s,:{}[\]"]*))/y

/** JSON whose values know their lines: `JSON.parse` on Node 20 tells of a mistake only what was around it. @throws {JsonError} */
export function readJson(text: string): JsonText {
  // What Windows programs put before a text.
  return new Reader(text.replace(/^\uFEFF/, '')).read()
}

class Reader {
  readonly #text: string
  readonly #lines = new Map<string, number>()
  #at = 0
  #line = 1
  #countedTo = 0

  constructor(text: string) {
    this.#text = text
  }

  read(): JsonText {
    if (this.#text.includes('\0')) throw new JsonError('it is not UTF-8 text', 1)
    const value = this.#value(this.#next(), [])
    if (this.#next() !== '') throw this.#wrong('there is something after its end')
    const lineOf = (path: readonly string[]): number => {
      for (let end = path.length; end > 0; end--) {
        const line = this.#lines.get(JSON.stringify(path.slice(0, end)))
        if (line !== undefined) return line
      }
      return 1
    }
    return { value, lineOf }
  }

  #wrong(reason: string): JsonError {
    return new JsonError(reason, this.#line)
  }

  /** The next word of the text; '' at its end. */
  #next(): string {
    TOKEN.lastIndex = this.#at
    const found = TOKEN.exec(this.#text)
    const [whole = '', mark, string, scalar, end, stray] = found ?? []
    const start = this.#at + whole.length - (mark ?? string ?? scalar ?? end ?? stray ?? '').length
    this.#line += this.#text.slice(this.#countedTo, start).split('\n').length - 1
    this.#countedTo = start
    this.#at += whole.length
    if (stray === '"') throw this.#wrong('it is not JSON: a text lacks its closing quote')
    if (found === null || stray !== undefined) throw this.#wrong('it is not JSON: a value is not quoted')
    return mark ?? string ?? scalar ?? ''
  }

  #value(word: string, path: string[]): unknown {
    this.#lines.set(JSON.stringify(path), this.#line)
    if (path.length > MAX_DEPTH) throw this.#wrong('it is nested too deep')
    if (word === '{') return this.#object(path)
    if (word === '[') return this.#array(path)
    if (word === '') throw this.#wrong('it ends too early')
    if (/^[}\],:]$/.test(word)) throw this.#wrong(`it is not JSON: a value is missing before "${word}"`)
    return this.#plain(word)
  }

  #plain(word: string): unknown {
    try {
      return JSON.parse(word)
    } catch {
      throw this.#wrong('it is not JSON')
    }
  }

  #object(path: string[]): unknown {
    const entries = new Map<string, unknown>()
    let word = this.#next()
    if (word === '}') return {}
    for (;;) {
      if (word === '') throw this.#wrong('it ends too early')
      if (!word.startsWith('"')) throw this.#wrong('it is not JSON: a name in quotes is missing')
      const name = String(this.#plain(word))
      if (entries.has(name)) throw this.#wrong('a name stands there twice')
      if (this.#next() !== ':') throw this.#wrong('it is not JSON: a colon is missing after a name')
      entries.set(name, this.#value(this.#next(), [...path, name]))
      word = this.#next()
      if (word === '}') return Object.fromEntries(entries)
      this.#comma(word)
      word = this.#next()
    }
  }

  #array(path: string[]): unknown {
    const items: unknown[] = []
    let word = this.#next()
    if (word === ']') return items
    for (;;) {
      items.push(this.#value(word, [...path, String(items.length)]))
      word = this.#next()
      if (word === ']') return items
      this.#comma(word)
      word = this.#next()
    }
  }

  #comma(word: string): void {
    if (word === '') throw this.#wrong('it ends too early')
    if (word !== ',') throw this.#wrong('it is not JSON: a comma is missing')
  }
}
