import type { TunnelError } from '../protocol/codec/errors.ts'
import { UpgradeLost } from '../protocol/link/dial-failure.ts'
import type { DetouredError, Dial, DialOptions, Transport } from '../protocol/link/transport.ts'

/** How long it is remembered that WebSocket does not pass, in ms. */
const REMEMBER_MS = 600_000
/** Addresses remembered at once; the oldest goes. */
const MAX_ADDRESSES = 64

/** Where WebSocket did not pass, for a while. Of one network: another may let it through. */
export interface DetourMemory {
  has(url: string): boolean
  add(url: string): void
  forget(url: string): void
}

/** In memory. */
export class Detours implements DetourMemory {
  readonly #network: () => string
  /** By host and network, epoch ms. */
  readonly #untilMs: Map<string, number>

  /**
   * @param network tells the present network from another. @default always the same
   * @param known what `entries` gave out before
   */
  constructor(network: () => string = () => '', known: Iterable<readonly [string, number]> = []) {
    this.#network = network
    this.#untilMs = new Map(known)
  }

  /** What is still remembered. */
  entries(): [string, number][] {
    const nowMs = Date.now()
    return [...this.#untilMs].filter(([, untilMs]) => untilMs > nowMs)
  }

  #key(url: string): string {
    return `${new URL(url).host} ${this.#network()}`
  }

  has(url: string): boolean {
    const untilMs = this.#untilMs.get(this.#key(url))
    // A clock that was set back makes no memory longer.
    return untilMs !== undefined && untilMs > Date.now() && untilMs <= Date.now() + REMEMBER_MS
  }

  add(url: string): void {
    const key = this.#key(url)
    this.#untilMs.delete(key)
    this.#untilMs.set(key, Date.now() + REMEMBER_MS)
    for (const oldest of this.#untilMs.keys()) {
      if (this.#untilMs.size <= MAX_ADDRESSES) break
      this.#untilMs.delete(oldest)
    }
  }

  forget(url: string): void {
    this.#untilMs.delete(this.#key(url))
  }
}

export interface Ways {
  webSocket: Dial
  http: Dial
  memory: DetourMemory
}

/**
 * Dials a WebSocket, and HTTP streaming where something between here and the proxy lets no WebSocket through: never
 * because the proxy has refused. `reach.network.transport` may say that one of them is meant.
 */
export function dialByWhatPasses({ webSocket, http, memory }: Ways): Dial {
  const dial = (url: string, options: DialOptions): Promise<Transport> => {
    const choice = options.reach?.network.transport ?? 'auto'
    if (choice === 'websocket') return webSocket(url, options)
    if (choice === 'http') return http(url, options)
    return memory.has(url) ? again(url, options) : first(url, options)
  }

  async function first(url: string, options: DialOptions): Promise<Transport> {
    try {
      return await webSocket(url, options)
    } catch (error) {
      const lost = error as TunnelError
      if (!isByIntermediary(url, lost)) throw lost
      const transport = await instead(url, options, lost)
      // A WebSocket passed after all.
      if (transport.kind !== 'http') return transport
      memory.add(url)
      return Object.assign(transport, { detour: lost })
    }
  }

  async function instead(url: string, options: DialOptions, lost: TunnelError): Promise<Transport> {
    let transport: Transport
    try {
      // Where nothing answers, nobody waits as long a second time.
      const timeoutMs = lost.code === 'TIMEOUT' ? options.timeoutMs / 2 : options.timeoutMs
      transport = await http(url, { ...options, timeoutMs })
    } catch (error) {
      const refusal = error as DetouredError
      // What the proxy itself says is the reason; else it is the same wall.
      const isOurs = refusal.fromPeer && refusal.code !== 'ROUTE_UNKNOWN'
      throw isOurs ? Object.assign(refusal, { detour: lost }) : lost
    }
    if (!(lost instanceof UpgradeLost) || !lost.mayPass) return transport
    // A reverse proxy had nothing behind it a moment ago: that says nothing of WebSockets.
    try {
      const better = await webSocket(url, options)
      transport.terminate()
      return better
    } catch {
      return transport
    }
  }

  /** It is known that no WebSocket passes. */
  async function again(url: string, options: DialOptions): Promise<Transport> {
    try {
      return await http(url, options)
    } catch (error) {
      if (!(error as TunnelError).fromPeer) memory.forget(url)
      throw error
    }
  }

  return Object.assign(dial, {
    silent(url: string, { reach }: DialOptions): boolean {
      if ((reach?.network.transport ?? 'auto') !== 'auto') return false
      // Neither says anything: it is not the transport.
      if (memory.has(url)) memory.forget(url)
      else memory.add(url)
      return memory.has(url)
    },
  })
}

function isByIntermediary(url: string, error: TunnelError): boolean {
  // An HTTP proxy that opens no way to port 80 may still pass on plain requests.
  return error instanceof UpgradeLost || (error.code === 'HTTP_PROXY_FAILED' && url.startsWith('ws:'))
}
