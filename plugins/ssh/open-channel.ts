import type { ClientChannel } from 'ssh2'
import type { TunnelError } from '../../protocol/codec/errors.ts'
import { aborted, channelTimeout } from './errors.ts'

export interface ChannelOptions {
  /** How long sshd may take to answer, in ms. */
  timeoutMs: number
  signal?: AbortSignal
}

/** Asks ssh2 for a channel. */
export type Start = (done: (error: Error | undefined, channel: ClientChannel) => void) => void

/** How a channel is opened. */
export interface ChannelRequest extends ChannelOptions {
  /** What is asked for, as the beginning of "… was given up". */
  what: string
  start: Start
  /** Makes an error of the server's refusal. */
  refused(cause: unknown): TunnelError
  /** Makes an error of what `start` throws. */
  failed(cause: unknown): TunnelError
}

/** A channel that comes when nobody waits for it any more is closed. @throws {TunnelError} what keeps it from opening */
export function openChannel(request: ChannelRequest): Promise<ClientChannel> {
  const { what, start, refused, failed, timeoutMs, signal } = request
  return new Promise((resolve, reject) => {
    let settled = false
    const settle = (error: TunnelError | undefined, channel?: ClientChannel): void => {
      if (settled) {
        channel?.destroy()
        return
      }
      settled = true
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      if (channel === undefined) reject(error)
      else resolve(channel)
    }
    const onAbort = (): void => settle(aborted(what))
    const timer = setTimeout(() => settle(channelTimeout(what, timeoutMs)), timeoutMs).unref()
    if (signal?.aborted === true) return onAbort()
    signal?.addEventListener('abort', onAbort, { once: true })
    try {
      start((error, channel) => {
        if (error !== undefined) settle(refused(error))
        else settle(undefined, channel)
      })
    } catch (error) {
      settle(failed(error))
    }
  })
}

/** Does `work`, which takes several steps, within the time that one channel has. @throws {TunnelError} TIMEOUT, ABORTED */
export async function within<T>(
  what: string,
  { timeoutMs, signal }: ChannelOptions,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const over = new AbortController()
  const onAbort = (): void => over.abort(aborted(what))
  const timer = setTimeout(() => over.abort(channelTimeout(what, timeoutMs)), timeoutMs).unref()
  if (signal?.aborted === true) onAbort()
  signal?.addEventListener('abort', onAbort, { once: true })
  try {
    return await work(over.signal)
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', onAbort)
  }
}
