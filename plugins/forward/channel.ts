import type { StreamEvent } from '../../protocol/codec/heads.ts'
import { type FarEnd, farFailed, Join, type Joined } from '../../protocol/node/join.ts'
import type { ByteStream } from '../../protocol/stream/byte-stream.ts'
import type { ChannelLease } from '../pool/index.ts'
import { AwayPlace } from './away.ts'
import { hostHungUp, placeNeeded, requestGone } from './errors.ts'
import type { ServeContext } from './serve.ts'

/** One channel of a pooled SSH connection, and how it ends. */
export interface OpenedChannel<Channel extends Joined> {
  channel: Channel
  end: Omit<FarEnd, 'failed'>
}

export interface ChannelOptions<Channel extends Joined> {
  /** Where the channel gets its place. Default: one of its own, of the pool. */
  at?: ServeContext['open']
  /** Opens the channel; rejects with what the stream is reset with. */
  open(connection: ChannelLease['connection'], signal: AbortSignal): Promise<OpenedChannel<Channel>>
  /** An event of the stream, before and after there is a channel. */
  event?(event: StreamEvent): void
  /** The stream has been accepted, and no byte has passed yet. */
  accepted?(channel: Channel): void
}

/** Joins a stream with a channel of its own: takes a place, opens, passes bytes, and gives the place back. */
export async function serveChannel<Channel extends Joined>(
  stream: ByteStream,
  context: ServeContext,
  { at = (signal, open) => context.open(signal, open), open, event, accepted }: ChannelOptions<Channel>,
): Promise<void> {
  const { clock } = context
  const gone = new AbortController()
  let lease: ChannelLease | undefined
  let channel: Channel | undefined
  const giveBack = (): void => stream.reset(placeNeeded(context.machine))
  const away = new AwayPlace(clock, () => lease, giveBack)
  let finish = (): void => {}
  const over = new Promise<void>((resolve) => {
    finish = resolve
  })
  const join = new Join(stream, {
    clock,
    carried: (direction, byteCount) => context.carried(direction, byteCount),
    ...(event === undefined ? {} : { event }),
    suspended() {
      context.suspended()
      away.suspended()
    },
    resumed() {
      away.resumed()
      context.resumed()
    },
    closed() {
      away.stop()
      gone.abort()
      finish()
    },
  })
  try {
    const opened = await at(gone.signal, (connection) => open(connection, gone.signal))
    lease = opened.lease
    channel = opened.channel.channel
    await context.onOpen()
    if (gone.signal.aborted) throw requestGone()
    if (channel.destroyed) throw hostHungUp(context.machine)
    stream.accept()
    context.onAccepted()
    accepted?.(channel)
    join.attach(channel, { ...opened.channel.end, failed: farFailed })
    await over
  } finally {
    channel?.destroy()
    lease?.release()
  }
}
