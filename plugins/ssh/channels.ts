import type { ClientChannel } from 'ssh2'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import { readsTooSlowly } from './errors.ts'

/** ssh2's channels say here what they have had from the peer; its types leave it out. */
type ChannelWithState = ClientChannel & {
  incoming: { state: 'open' | 'eof' | 'closed'; window: number }
  outgoing: { window: number }
}

/** What a server may let us send ahead on one channel, in bytes: OpenSSH's own window. */
const MAX_WINDOW_BYTES = 2_097_152
/** What of all channels may wait for whoever reads them, in bytes: as much as 16 have that are not read at all. */
const MAX_UNREAD_BYTES = 33_554_432

/**
 * The channels of one SSH connection, and the memory that they may take: ssh2 lets a server send beyond its window, and
 * grant one without end.
 */
export class Channels {
  readonly #machine: string
  readonly #open = new Set<ClientChannel>()

  constructor(machine: string) {
    this.#machine = machine
  }

  get size(): number {
    return this.#open.size
  }

  add(channel: ClientChannel): ClientChannel {
    this.#open.add(channel)
    channel.on('close', () => this.#open.delete(channel))
    // The channel's user adds a listener too; without any, an 'error' would end the process.
    channel.on('error', () => {})
    return channel
  }

  /** To be called each time that something has come. False where the server has sent more than a window allows. */
  holdToWindows(): boolean {
    let unreadBytes = 0
    for (const channel of this.#open) {
      const { incoming, outgoing } = channel as ChannelWithState
      unreadBytes += channel.readableLength
      if (incoming.window < 0) return false
      if (outgoing.window > MAX_WINDOW_BYTES) outgoing.window = MAX_WINDOW_BYTES
    }
    if (unreadBytes > MAX_UNREAD_BYTES) this.#endSlowest()
    return true
  }

  /** Each channel's window is large, and a connection has many: what nobody reads is bounded over all of them. */
  #endSlowest(): void {
    let slowest: ClientChannel | undefined
    for (const channel of this.#open)
      if (channel.readableLength > (slowest?.readableLength ?? 0)) slowest = channel
    slowest?.emit('error', readsTooSlowly(this.#machine, MAX_UNREAD_BYTES))
    // What it holds is let go at once, whenever the server says that it is closed.
    slowest?.destroy().resume()
  }

  /** The connection is gone: those whose peer had not ended them hear `error`. */
  cut(error: TunnelError): void {
    for (const channel of this.#open)
      if ((channel as ChannelWithState).incoming.state === 'open') channel.emit('error', error)
  }
}
