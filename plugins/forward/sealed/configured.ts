import { farFailed, Join } from '../../../protocol/node/join.ts'
import type { ByteStream } from '../../../protocol/stream/byte-stream.ts'
import type { ConfiguredRoute } from '../../machines/index.ts'
import { configuredTarget, hostHungUp, requestGone } from '../errors.ts'
import type { ServeContext } from '../serve.ts'

/** A sealed stream to a host of the configuration: it has no agent, so the stream ends here. Throws what refuses it. */
export async function serveConfigured(
  stream: ByteStream,
  route: ConfiguredRoute,
  context: ServeContext,
): Promise<void> {
  if (context.target !== undefined) throw configuredTarget()
  const join = new Join(stream, {
    clock: context.clock,
    carried: (direction, byteCount) => context.carried(direction, byteCount),
    suspended: () => context.suspended(),
    resumed: () => context.resumed(),
  })
  const socket = await route.dial()
  try {
    await context.onOpen()
    if (join.over) throw requestGone()
    if (socket.destroyed) throw hostHungUp(context.machine)
  } catch (error) {
    socket.destroy()
    throw error
  }
  stream.accept()
  context.onAccepted()
  join.attach(socket, { failed: farFailed, unread: () => hostHungUp(context.machine) })
}
