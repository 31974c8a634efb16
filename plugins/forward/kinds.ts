import type { StreamKind } from '../../protocol/codec/heads.ts'
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
 * What carries the streams that end at this proxy. A new kind is a row here and a file beside this one; its head is
 * checked by protocol/codec. Sealed streams have no row: they are relayed, or joined with a configured host.
 */
export function carriersOf(http: HttpOrigins): Readonly<Partial<Record<StreamKind, Carrier>>> {
  const places = new TcpPlaces()
  return {
    tcp: (stream, context) => serveTcp(places, stream, context),
    exec: serveExec,
    shell: serveShell,
    sftp: serveSftp,
    http: (stream, context) => http.serve(stream, context),
  }
}
