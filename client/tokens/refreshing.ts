import { addressesOf } from '../../dial/addresses.ts'
import { callProxy } from '../../dial/api.ts'
import { expiryOf, issuedOf, type TokenAsk } from '../../dial/token.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'

/** What has to outlive a program for its tokens to go on. */
export interface RefreshState {
  /** Good for one use: whoever uses it a second time ends its whole family. */
  refreshToken: string
  /** A use that has no answer yet: asked again with the same id, the proxy gives the same answer. */
  requestId?: string
}

/** Where a refresh token is kept; of one program at a time. */
export interface RefreshStore {
  load(): Promise<RefreshState | undefined>
  /** Resolves when it is safe: what it replaces is used up. */
  save(state: RefreshState): Promise<void>
}

export interface RefreshingOptions {
  /** The proxy's base; of several the first that answers. */
  url: string | readonly string[]
  /** The first one (`tunnel token --refresh` makes it); what the store has comes before it. */
  refreshToken?: string
  /** @default memory: a program that starts again needs another first one */
  store?: RefreshStore
  /** For each address, in ms. @default 10_000 */
  timeoutMs?: number
}

/** The share of its life for which a token is given out again. */
const GOOD_FOR = 2 / 3
const TIMEOUT_MS = 10_000

/**
 * A token provider by `POST auth/refresh`: a token is given out for two thirds of its life, and not again when the proxy
 * has refused it; the next one is got with the refresh token, which is kept before and after its only use. Clocks that
 * differ do no harm. One provider serves any number of clients, and asks once at a time.
 */
export function refreshing(options: RefreshingOptions): (ask?: TokenAsk) => Promise<string> {
  const { url, refreshToken, timeoutMs = TIMEOUT_MS } = options
  const addresses = addressesOf(url)
  const store = options.store ?? memoryStore()
  let latest: { token: string; untilMs: number } | undefined
  let running: Promise<string> | undefined

  const refresh = async (): Promise<string> => {
    const kept = (await store.load()) ?? (refreshToken === undefined ? undefined : { refreshToken })
    if (kept === undefined)
      throw new TunnelError('TOKEN_MISSING', 'there is no refresh token', {
        hop: 'client',
        suggestion: '`tunnel token --refresh` on the proxy makes one',
      })
    const used: RefreshState = { ...kept, requestId: kept.requestId ?? crypto.randomUUID() }
    await store.save(used)
    const question = { route: 'auth/refresh', method: 'POST', body: used, timeoutMs }
    const answer = (await callProxy(addresses, question)) as Partial<
      Record<'token' | 'refreshToken', unknown>
    >
    const { token, refreshToken: next } = answer ?? {}
    if (typeof token !== 'string' || typeof next !== 'string')
      throw new TunnelError('CONNECT_REFUSED', 'what answers there is not a tunnel proxy', { hop: 'proxy' })
    await store.save({ refreshToken: next })
    latest = { token, untilMs: performance.now() + lifeMs(token) * GOOD_FOR }
    return token
  }

  return ({ refused } = {}) => {
    if (running !== undefined) return running
    const isGood = latest !== undefined && latest.token !== refused && performance.now() < latest.untilMs
    if (isGood && latest !== undefined) return Promise.resolve(latest.token)
    running = refresh().finally(() => {
      running = undefined
    })
    return running
  }
}

/** As the proxy has it, whatever this computer's clock says. */
function lifeMs(token: string): number {
  const expiresAtMs = expiryOf(token)
  if (expiresAtMs === undefined) return Number.POSITIVE_INFINITY
  return Math.max(0, expiresAtMs - (issuedOf(token) ?? Date.now()))
}

function memoryStore(): RefreshStore {
  let state: RefreshState | undefined
  return {
    load: async () => state,
    save: async (next) => {
      state = next
    },
  }
}
