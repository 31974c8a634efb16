import { TunnelError } from '../protocol/codec/errors.ts'
import { Join, type Joined } from '../protocol/node/join.ts'
import type { DuplexPath } from './opening.ts'
import { openStream, type RawStream, rawHead } from './raw-stream.ts'

/** What a stream that is joined with a socket tells whoever joined them. */
export interface JoinEvents {
  /** The far side has accepted, and no byte has passed yet. */
  accepted?(): void
  /** The stream has lost its path; `resumed` follows when it is back. */
  suspended?(): void
  resumed?(): void
  /** Once, for a stream that was accepted: it is over, by `error` or in order. */
  closed?(error: TunnelError | undefined): void
  /** Ends the socket of a stream that an error has ended. @default its `destroy`, which it may take for an orderly end */
  abort?(): void
}

/**
 * Opens a stream and joins it with `socket`, which is read from when the far side has accepted; that is also when the
 * promise resolves. A socket that is destroyed before that ends nothing by itself: abort the request's signal.
 * @throws {TunnelError}
 */
export async function joinStream(
  way: DuplexPath,
  request: RawStream,
  socket: Joined,
  events: JoinEvents,
): Promise<void> {
  return openStream(way, rawHead(request), request, (stream, place) => {
    return new Promise((resolve, reject) => {
      let isAccepted = false
      const { suspended, resumed, abort } = events
      const join = new Join(stream, {
        clock: way.path.clock,
        accepted() {
          place.accepted()
          if (socket.destroyed) return stream.reset(localLost())
          isAccepted = true
          events.accepted?.()
          join.attach(socket, {
            failed: localLost,
            unread: localLost,
            ...(abort === undefined ? {} : { abort: () => abort() }),
          })
          socket.resume()
          resolve()
        },
        ...(suspended === undefined ? {} : { suspended: () => suspended() }),
        ...(resumed === undefined ? {} : { resumed: () => resumed() }),
        closed(error) {
          place.over()
          if (isAccepted) events.closed?.(error)
          else reject(error ?? localLost())
        },
      })
    })
  })
}

function localLost(cause?: Error): TunnelError {
  return new TunnelError('ABORTED', 'the local connection was lost', { cause, hop: 'client' })
}
