import { TunnelError } from '../../protocol/codec/errors.ts'
import type { TunnelStream } from '../../protocol/stream/stream.ts'
import type { Random } from '../support/seeded-random.ts'

/** A consumer of an attacked stream, which does whatever a consumer may do. */
export function consume(
  stream: TunnelStream,
  random: Random,
  heldBytes: Map<TunnelStream, number>,
  ended: (error: TunnelError | undefined) => void,
): void {
  if (random.chance(0.1)) return stream.reset(new TunnelError('CONNECT_REFUSED', 'refused', { hop: 'link' }))
  if (random.chance(0.8)) stream.accept()
  // One that never gets handlers keeps what comes.
  if (random.chance(0.1)) return
  const slow = random.chance(0.3)
  const take = (bytes: Uint8Array): void => {
    if (slow) heldBytes.set(stream, (heldBytes.get(stream) ?? 0) + bytes.length)
    else stream.consumed(bytes.length)
    if (random.chance(0.02)) stream.reset(new TunnelError('ABORTED', 'in the midst of it', { hop: 'link' }))
    else if (random.chance(0.1)) stream.write(random.bytes(random.below(2_000)))
  }
  stream.handle({
    data: take,
    aux: take,
    accepted: () => {
      if (random.chance(0.05)) stream.reset(new TunnelError('ABORTED', 'after all', { hop: 'link' }))
    },
    event: () => {
      if (random.chance(0.5)) stream.event({ exit: { code: 1 } })
    },
    ended: () => {
      if (random.chance(0.7)) stream.end(random.bytes(random.below(100)))
    },
    closed: (error) => {
      heldBytes.delete(stream)
      ended(error)
    },
  })
}
