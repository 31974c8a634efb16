import { type AddedKind, isAddedKind, type StreamKind } from '../../protocol/codec/heads.ts'
import type { ByteStream } from '../../protocol/stream/byte-stream.ts'
import { serveExec } from './exec.ts'
import type { HttpOrigins } from './http/origins.ts'
import type { ServeContext } from './serve.ts'
import { serveSftp } from './sftp.ts'
import { serveShell } from './shell.ts'
import { serveTcp } from './tcp.ts'
import { TcpPlaces } from './tcp-places.ts'

/** Carries a stream that has been admitted, to its end. What it throws resets the stream. */
export type Carrier = (stream: ByteStream, context: ServeContext) => Promise<void>

/**
 * The kinds of streams that end at this proxy, each with what carries it: those of `carriersOf`, and those that plugins
 * add.
 */
export class Carriers {
  readonly #carriers: Map<StreamKind, Carrier>

  constructor(http: HttpOrigins) {
    this.#carriers = new Map(Object.entries(carriersOf(http)) as [StreamKind, Carrier][])
  }

  /** @throws {Error} for a name that no plugin may give, or that is there already */
  add(kind: AddedKind, carrier: Carrier): void {
    if (!isAddedKind(kind))
      throw new Error(`"${kind}" cannot be a kind of streams: x-, a letter, then up to 29 of a-z, 0-9 and -`)
    if (this.#carriers.has(kind)) throw new Error(`streams of kind ${kind} have a carrier already`)
    this.#carriers.set(kind, carrier)
  }

  get(kind: StreamKind): Carrier | undefined {
    return this.#carriers.get(kind)
  }
}

/**
 * What carries the streams that end at this proxy. A new kind is a row here and a file beside this one; its head is
 * checked by protocol/codec. Sealed streams have no row: they are relayed, or joined with a configured host.
 */
function carriersOf(http: HttpOrigins): Readonly<Partial<Record<StreamKind, Carrier>>> {
  const places = new TcpPlaces()
  return {
    tcp: (stream, context) => serveTcp(places, stream, context),
    exec: serveExec,
    shell: serveShell,
    sftp: serveSftp,
    http: (stream, context) => http.serve(stream, context),
  }
}
