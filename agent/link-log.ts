import { carriedBy } from '../dial/carrier.ts'
import type { Connection } from '../dial/connection.ts'
import type { TransportKind } from '../protocol/link/transport.ts'
import type { AgentLog } from './options.ts'

export interface LinkLogOptions {
  url: string
  /** How many streams stand when a link is back. */
  streams: () => number
  /** The machine is on line by another link: what becomes of this one is no reason to worry. */
  isElsewhere: () => boolean
  log: AgentLog
}

/** Tells the log what becomes of the links that `connection` makes. */
export function logLinks(connection: Connection, { url, streams, isElsewhere, log }: LinkLogOptions): void {
  let lostAtMs: number | undefined
  connection.on('lost', ({ code, message }) => {
    lostAtMs = performance.now()
    if (code === 'ABORTED') log('info', 'the link is dialled again to tell the new host key')
    else if (isElsewhere())
      log('info', `one of the links is lost, the machine stays on line: ${message}`, { code })
    else log('warn', `link lost: ${message}`, { code })
  })
  let carrier: TransportKind = 'websocket'
  connection.on('link', ({ transport, detour }) => {
    if (transport !== carrier) log('warn', carriedBy(transport, detour), { url })
    carrier = transport
    if (lostAtMs === undefined) return
    const seconds = ((performance.now() - lostAtMs) / 1_000).toFixed(1)
    lostAtMs = undefined
    const back = isElsewhere() ? 'the other link is back' : 'on line again'
    log('info', `${back} after ${seconds} s`, { streams: streams() })
  })
  connection.on('redial', ({ attempt, delayMs, error: { code, message } }) => {
    // The first dial after a loss is made at once, and the loss was told.
    if (attempt === 1 && lostAtMs !== undefined) return
    log(isElsewhere() ? 'info' : 'warn', `${message}; dialling again in ${(delayMs / 1_000).toFixed(1)} s`, {
      code,
      url,
    })
  })
  connection.on('tokenFailed', ({ code, message }) => log('warn', `no fresh token: ${message}`, { code }))
}
