/**
 * A plugin of the client: signs each request for the service that gets it, tells of slow ones, and says when the network is
 * gone. `addTo(tunnel, …)` before `tunnel.connect()`.
 */
import { createHmac } from 'node:crypto'
import type { TunnelService } from '../../client/index.ts'

export interface SignOptions {
  secret: string
  /** Above this a request is told of, in ms. */
  slowMs: number
  say: (line: string) => void
}

export function addTo(tunnel: TunnelService, { secret, slowMs, say }: SignOptions): void {
  tunnel.addHook('onRequest', (request) => {
    // Put here, it is made anew for each try, and never on disk.
    const signature = createHmac('sha256', secret).update(`${request.method} ${request.path}`).digest('hex')
    request.headers = [...request.headers, ['x-signature', signature]]
  })
  tunnel.addHook('onResponse', ({ method, path, status, error, latencyMs }) => {
    if (error !== undefined) say(`${method} ${path} failed: ${error.code}; ${error.suggestion}`)
    else if (latencyMs > slowMs) say(`${method} ${path} took ${Math.round(latencyMs)} ms (${status})`)
  })
  tunnel.addHook('onStateChange', (status) => {
    if (status.state === 'reconnecting') say(`the network is gone: ${status.error.message}`)
    if (status.state === 'connected') say('connected')
  })
}
