import type { Socket } from 'node:net'
import { type ErrorCode, TunnelError } from '../../protocol/codec/errors.ts'
import { parseTarget } from '../../protocol/codec/target.ts'
import { LocalError } from '../failure.ts'
import { hostPort } from './local-address.ts'
import type { Carry } from './serve.ts'
import { REPLY, type Reply, SocksReader, type SocksRequest, socksReply } from './socks-protocol.ts'
import type { Way } from './way.ts'

/** How long a client has to say where it wants to go, in ms. */
const REQUEST_MS = 10_000
/** How long a client that was refused has to read why, in ms. */
const LINGER_MS = 1_000

/** What a SOCKS client is told of each error. */
const REPLIES: Record<ErrorCode, Reply> = {
  POLICY_DENIED: REPLY.forbidden,
  FORBIDDEN: REPLY.forbidden,
  TIER_REQUIRED: REPLY.forbidden,
  TOKEN_MISSING: REPLY.forbidden,
  TOKEN_INVALID: REPLY.forbidden,
  TOKEN_EXPIRED: REPLY.forbidden,
  TOKEN_REVOKED: REPLY.forbidden,
  TICKET_INVALID: REPLY.forbidden,
  SSH_AUTH_FAILED: REPLY.forbidden,
  HOST_KEY_CHANGED: REPLY.forbidden,
  CONNECT_REFUSED: REPLY.refused,
  DNS_FAILED: REPLY.hostUnreachable,
  TIMEOUT: REPLY.expired,
  MACHINE_UNKNOWN: REPLY.networkUnreachable,
  KIND_UNKNOWN: REPLY.failed,
  MACHINE_OFFLINE: REPLY.networkUnreachable,
  AGENT_LOST: REPLY.networkUnreachable,
  LINK_LOST: REPLY.networkUnreachable,
  CERTIFICATE_EXPIRED: REPLY.networkUnreachable,
  CERTIFICATE_NOT_YET_VALID: REPLY.networkUnreachable,
  CERTIFICATE_UNTRUSTED: REPLY.networkUnreachable,
  CERTIFICATE_WRONG_HOST: REPLY.networkUnreachable,
  CERTIFICATE_NOT_PINNED: REPLY.networkUnreachable,
  TLS_FAILED: REPLY.networkUnreachable,
  HTTP_PROXY_AUTH_REQUIRED: REPLY.networkUnreachable,
  HTTP_PROXY_FAILED: REPLY.networkUnreachable,
  SESSION_UNKNOWN: REPLY.networkUnreachable,
  SHUTTING_DOWN: REPLY.networkUnreachable,
  STATE_UNAVAILABLE: REPLY.networkUnreachable,
  CIRCUIT_OPEN: REPLY.networkUnreachable,
  SSH_HANDSHAKE_FAILED: REPLY.networkUnreachable,
  RATE_LIMITED: REPLY.failed,
  TOO_MANY_CONNECTIONS: REPLY.failed,
  ALREADY_HOME: REPLY.failed,
  TOO_MANY_STREAMS: REPLY.failed,
  POOL_EXHAUSTED: REPLY.failed,
  OVERLOADED: REPLY.failed,
  CONFIG_CHANGED: REPLY.failed,
  QUEUE_FULL: REPLY.failed,
  INTERNAL: REPLY.failed,
  CHANNEL_OPEN_FAILED: REPLY.failed,
  FRAME_INVALID: REPLY.failed,
  FRAME_TOO_LARGE: REPLY.failed,
  VERSION_UNSUPPORTED: REPLY.failed,
  UNKNOWN_STREAM: REPLY.failed,
  RESUME_EXPIRED: REPLY.failed,
  TAKEN_OVER: REPLY.failed,
  OUTCOME_UNKNOWN: REPLY.failed,
  STILL_QUEUED: REPLY.failed,
  QUEUE_LOCKED: REPLY.failed,
  STORE_FAILED: REPLY.failed,
  ABORTED: REPLY.failed,
  CONFIG_INVALID: REPLY.failed,
  FILE_FAILED: REPLY.failed,
  REQUEST_INVALID: REPLY.failed,
  ROUTE_UNKNOWN: REPLY.failed,
}

/** Serves one SOCKS client: reads its request, and carries it there. @throws {TunnelError} after the client was told */
export async function serveSocks(socket: Socket, way: Way, carry: Carry): Promise<void> {
  const request = await requestOf(socket)
  // It went away, or never said what it wants: browsers connect ahead of a need.
  if (request === undefined) return
  const { version, host, port } = request
  const answer = (reply: Reply): Buffer => socksReply(version, reply)
  try {
    const target = parseTarget(hostPort(host, port))?.authority
    if (target === undefined) throw noTarget(host, port)
    await carry({ way, target, accepted: () => void socket.write(answer(REPLY.succeeded)) })
  } catch (error) {
    const code = error instanceof TunnelError ? error.code : 'INTERNAL'
    refuse(socket, answer(REPLIES[code]))
    throw error
  }
}

/** What the client wants; undefined for one that has ended or said nothing in time. @throws {LocalError} */
function requestOf(socket: Socket): Promise<SocksRequest | undefined> {
  return new Promise((resolve, reject) => {
    const reader = new SocksReader()
    const timer = setTimeout(() => settle(undefined), REQUEST_MS)
    timer.unref()
    const settle = (request: SocksRequest | undefined, error?: Error): void => {
      clearTimeout(timer)
      socket.off('data', onData).off('end', onEnd).off('close', onEnd).pause()
      if (error !== undefined) reject(error)
      else resolve(request)
      if (request === undefined && error === undefined) socket.destroy()
    }
    const onEnd = (): void => settle(undefined)
    const onData = (bytes: Buffer): void => {
      reader.add(bytes)
      for (;;) {
        const step = reader.next()
        if (step.kind === 'wait') return
        if (step.kind === 'reply') socket.write(step.reply)
        else if (step.kind === 'request') {
          settle(step.request)
          if (step.rest.length > 0) socket.unshift(step.rest)
          return
        } else {
          refuse(socket, step.reply)
          return settle(undefined, new LocalError('SOCKS_INVALID', step.reason, ''))
        }
      }
    }
    socket.on('data', onData).once('end', onEnd).once('close', onEnd)
  })
}

/** Ends the connection of a client that is to read why. */
function refuse(socket: Socket, reply: Buffer | undefined): void {
  const destroy = (): void => void socket.destroy()
  const timer = setTimeout(destroy, LINGER_MS)
  timer.unref()
  // What it goes on sending would turn the end into a reset, which overtakes the answer.
  socket.once('close', () => clearTimeout(timer)).once('end', destroy)
  if (reply === undefined) socket.end()
  else socket.end(reply)
  socket.resume()
}

function noTarget(host: string, port: number): TunnelError {
  const text = `${JSON.stringify(host.slice(0, 80))}, port ${port}, is not an address that can be reached`
  return new TunnelError('DNS_FAILED', text, { hop: 'client' })
}
