import type { Socket } from 'node:net'
import { TunnelError } from '../protocol/codec/errors.ts'

/** How long an SSH server has for its first byte before it is taken for one that lets its client speak first, in ms. */
const GREETING_MS = 1_000
/** When those may come again that sshd has turned away, in ms: spread, because they were too many at once. */
const RETRY_MS = { least: 500, most: 2_500 }
/** What sshd says, in versions that say anything, before it hangs up on more logins at once than MaxStartups allows. */
const TOO_MANY = 'Exceeded MaxStartups'
/** And on an address from which too many have failed (PerSourcePenalties, since 9.8). */
const PENALTY = 'Not allowed at this time'
/** Penalties last 15 s at least unless configured otherwise: who asks is told to come back by and by, in ms. */
const PENALTY_RETRY_MS = 5_000

/**
 * Resolves when the SSH server has begun to speak, or with false when it is silent; what it has said is still to be read.
 * @throws {TunnelError} TOO_MANY_CONNECTIONS or RATE_LIMITED when it hangs up instead: its client has been sent nothing,
 * and may ask again
 */
export function greeted(socket: Socket, target: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const settle = (refusal?: TunnelError, hasSpoken = false): void => {
      clearTimeout(timer)
      socket.off('readable', onReadable).off('end', onEnd).off('error', onEnd).off('close', onEnd)
      if (refusal === undefined) return resolve(hasSpoken)
      socket.on('error', () => {}).destroy()
      reject(refusal)
    }
    const timer = setTimeout(() => settle(), GREETING_MS)
    const onEnd = (): void => settle(tooManyLogins(target))
    const onReadable = (): void => {
      const bytes = socket.read() as Buffer | null
      // Null: nothing more will come, and 'end' follows.
      if (bytes === null) return
      socket.unshift(bytes)
      const said = bytes.toString('latin1', 0, 64)
      if (said.startsWith(TOO_MANY)) settle(tooManyLogins(target))
      else settle(said.startsWith(PENALTY) ? penalised(target) : undefined, true)
    }
    socket.on('readable', onReadable).once('end', onEnd).once('error', onEnd).once('close', onEnd)
  })
}

function penalised(target: string): TunnelError {
  const text = `the SSH server at ${target} takes no login from this user for a while: too many have failed (its PerSourcePenalties)`
  return new TunnelError('RATE_LIMITED', text, { hop: 'agent', retryAfterMs: PENALTY_RETRY_MS })
}

function tooManyLogins(target: string): TunnelError {
  const text = `the SSH server at ${target} hung up at once: too many are logging in (its MaxStartups), or it is shutting down`
  const retryAfterMs = Math.round(RETRY_MS.least + Math.random() * (RETRY_MS.most - RETRY_MS.least))
  return new TunnelError('TOO_MANY_CONNECTIONS', text, { hop: 'agent', retryAfterMs })
}
