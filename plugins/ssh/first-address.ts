import type { Duplex } from 'node:stream'
import { asTunnelError, type TunnelError } from '../../protocol/codec/errors.ts'

/** How long an address has alone before the next is tried beside it, in ms: longer than most ways to a service take. */
const STAGGER_MS = 2_000

/**
 * Opens a channel to the first of `addresses` that answers, as sshd would if it had the name: the next one's turn comes
 * when one has failed, or is silent. Channels that come too late are closed.
 * @throws {TunnelError} what the first of them says, if all fail; at once whatever is no answer of an address
 */
export function openFirst(
  addresses: readonly string[],
  signal: AbortSignal,
  open: (address: string, signal: AbortSignal) => Promise<Duplex>,
): Promise<{ address: string; channel: Duplex }> {
  const waiting = [...addresses]
  const rest = new AbortController()
  return new Promise((resolve, reject) => {
    let failed: TunnelError | undefined
    let trying = 0
    let timer: NodeJS.Timeout | undefined
    let isOver = false
    const end = (): boolean => {
      if (isOver) return false
      isOver = true
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      return true
    }
    const onAbort = (): void => {
      if (end()) reject(signal.reason)
      rest.abort()
    }
    const next = (): void => {
      clearTimeout(timer)
      const address = waiting.shift()
      if (address === undefined) return
      trying++
      if (waiting.length > 0) timer = setTimeout(next, STAGGER_MS).unref()
      open(address, rest.signal).then(
        (channel) => {
          if (!end()) return void channel.destroy()
          resolve({ address, channel })
          rest.abort()
        },
        (thrown: unknown) => {
          trying--
          const error = asTunnelError(thrown, 'ssh', 'CHANNEL_OPEN_FAILED')
          failed ??= error
          if (isOver) return
          if (isAnswer(error) && waiting.length > 0) return next()
          if (isAnswer(error) && trying > 0) return
          if (end()) reject(isAnswer(error) ? failed : error)
          rest.abort()
        },
      )
    }
    if (signal.aborted) return onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    next()
  })
}

/** It cannot be reached, or sshd has a rule of its own against it: another may fare better. */
function isAnswer({ code }: TunnelError): boolean {
  return code === 'CONNECT_REFUSED' || code === 'POLICY_DENIED'
}
