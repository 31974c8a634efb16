import { TunnelError } from '../../protocol/codec/errors.ts'
import type { StreamDuplex } from '../../protocol/node/duplex.ts'
import { FileError, problemOf, STATUS } from './errors.ts'
import { broken, type Field, type Fields, PACKET, PacketReader, packet, uint32 } from './packets.ts'

const VERSION = 3
/** How long a server may take to say its version, in ms. */
const VERSION_MS = 30_000

interface Waiting {
  resolve(packet: Answer): void
  reject(error: TunnelError): void
}

export interface Answer {
  type: number
  fields: Fields
}

/**
 * Requests and their answers over a stream of kind `sftp`: any number at once, answered in any order. All of them fail with
 * what ends it.
 */
export class SftpChannel {
  readonly #stream: StreamDuplex
  readonly #machine: string
  readonly #waiting = new Map<number, Waiting>()
  /** Undefined before the server has said its version. */
  #extensions: ReadonlySet<string> | undefined
  #nextId = 1
  #lost: TunnelError | undefined

  private constructor(stream: StreamDuplex, machine: string, onVersion: () => void) {
    this.#stream = stream
    this.#machine = machine
    const reader = new PacketReader((fields) => {
      const type = fields.byte()
      if (type === PACKET.VERSION) return this.#version(fields, onVersion)
      const waiting = this.#take(fields.uint32())
      waiting.resolve({ type, fields })
    })
    stream.on('data', (chunk: Buffer) => {
      if (this.#lost !== undefined) return
      try {
        reader.take(chunk)
      } catch (error) {
        this.end(error as TunnelError)
      }
    })
    stream.once('error', (error: TunnelError) => this.end(error))
    const ended = () => this.end(sessionEnded(machine))
    stream.once('end', ended)
    stream.once('close', ended)
  }

  /** Resolves when the server has said its version; `stream` is its own from here on. @throws {TunnelError} */
  static async begin(stream: StreamDuplex, machine: string): Promise<SftpChannel> {
    let resolve: () => void = () => {}
    const version = new Promise<void>((done) => {
      resolve = done
    })
    const channel = new SftpChannel(stream, machine, resolve)
    stream.write(packet(PACKET.INIT, [uint32(VERSION)])[0])
    const over = new Promise<never>((_, reject) => channel.#waiting.set(0, { resolve: () => {}, reject }))
    const silent = setTimeout(() => channel.end(sessionSilent(machine)), VERSION_MS).unref()
    try {
      await Promise.race([version, over])
    } finally {
      clearTimeout(silent)
      channel.#waiting.delete(0)
    }
    return channel
  }

  /** What ended it, once it has ended. */
  get lost(): TunnelError | undefined {
    return this.#lost
  }

  hasExtension(name: string): boolean {
    return this.#extensions?.has(name) === true
  }

  #version(fields: Fields, onVersion: () => void): void {
    const version = fields.uint32()
    if (version !== VERSION) throw broken(`speaks version ${version}, not ${VERSION}`)
    if (this.#extensions !== undefined) throw broken('says its version again')
    const extensions = new Set<string>()
    while (!fields.isAtEnd) {
      extensions.add(fields.bytes().toString())
      fields.bytes()
    }
    this.#extensions = extensions
    onVersion()
  }

  #take(id: number): Waiting {
    const waiting = id === 0 ? undefined : this.#waiting.get(id)
    if (waiting === undefined) throw broken('answers a request that was not made')
    this.#waiting.delete(id)
    return waiting
  }

  ask(type: number, fields: readonly Field[]): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#lost !== undefined) return reject(this.#lost)
      const id = this.#nextId
      this.#nextId = id === 0xff_ff_ff_ff ? 1 : id + 1
      this.#waiting.set(id, { resolve, reject })
      this.#stream.cork()
      for (const part of packet(type, [uint32(id), ...fields])) this.#stream.write(part)
      process.nextTick(() => this.#stream.uncork())
    })
  }

  extended(name: string, fields: readonly Field[]): Promise<Answer> {
    return this.ask(PACKET.EXTENDED, [name, ...fields])
  }

  /** A request that is answered with a status. @param tried what a FileError says did not work */
  async done(type: number, fields: readonly Field[], tried: string): Promise<void> {
    this.isDone(await this.ask(type, fields), tried)
  }

  isDone({ type, fields }: Answer, tried: string): void {
    if (type !== PACKET.STATUS) throw this.end(broken('answers with another packet'))
    const status = fields.uint32()
    if (status !== STATUS.OK) throw failed(status, fields, tried)
  }

  expect(answer: Answer, wanted: number, tried: string): Fields {
    const fields = this.expectMore(answer, wanted, tried)
    if (fields === undefined)
      throw new FileError(tried, 'other', { hop: 'target', detail: 'it is at its end' })
    return fields
  }

  /** Undefined at the end of what is read. */
  expectMore({ type, fields }: Answer, wanted: number, tried: string): Fields | undefined {
    if (type === wanted) return fields
    if (type !== PACKET.STATUS) throw this.end(broken('answers with another packet'))
    const status = fields.uint32()
    if (status === STATUS.EOF) return undefined
    throw failed(status, fields, tried)
  }

  told(path: string): string {
    return `${this.#machine}:${path}`
  }

  /** Once; gives back what has ended the session. */
  end(error: TunnelError): TunnelError {
    if (this.#lost !== undefined) return this.#lost
    this.#lost = error
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    for (const { reject } of waiting) reject(error)
    this.#stream.destroy()
    return error
  }
}

function failed(status: number, fields: Fields, tried: string): FileError {
  const detail = fields.isAtEnd ? '' : fields.bytes().toString()
  return new FileError(tried, problemOf(status), { hop: 'target', detail: detail.slice(0, MAX_DETAIL) })
}

/** How much of a server's own words is told, in characters. */
const MAX_DETAIL = 200

function sessionSilent(machine: string): TunnelError {
  const text = `the SFTP server on ${machine} said nothing within ${VERSION_MS} ms`
  return new TunnelError('TIMEOUT', text, { hop: 'target' })
}

function sessionEnded(machine: string): TunnelError {
  return new TunnelError('AGENT_LOST', `the SFTP session on ${machine} ended`, { hop: 'ssh' })
}
