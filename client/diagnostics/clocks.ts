import type { ProxyAddress } from '../../dial/addresses.ts'
import { fetchFromProxy } from '../../dial/api.ts'
import { expiryOf } from '../../dial/token.ts'
import type { Fetch } from '../../protocol/link/transport.ts'
import { spanText } from './spans.ts'

/** A clock that differs more than this from the proxy's is told, in ms. */
const SKEW_MS = 30_000

export interface Skew {
  /** How far this computer's clock is ahead of the proxy's, in ms. */
  aheadMs: number
  /** Of one that is told. */
  text: string | undefined
}

/** By the header Date (RFC 9110, section 6.6.1), which is of whole seconds. */
export async function skewOf(
  address: ProxyAddress,
  timeoutMs: number,
  fetch: Fetch,
): Promise<Skew | undefined> {
  try {
    const response = await fetchFromProxy([address], { route: 'health', timeoutMs, fetch })
    const theirsMs = Date.parse(response.headers.get('date') ?? '')
    await response.body?.cancel()
    if (Number.isNaN(theirsMs)) return undefined
    const aheadMs = Date.now() - theirsMs
    const isFar = Math.abs(aheadMs) > SKEW_MS
    const where = aheadMs > 0 ? 'ahead of' : 'behind'
    const text = `this computer's clock is ${spanText(Math.abs(aheadMs))} ${where} the proxy's`
    return { aheadMs, text: isFar ? text : undefined }
  } catch {
    return undefined
  }
}

export function adviceOf(token: string | undefined, clock: Skew | undefined): { suggestion?: string } {
  if (clock?.text !== undefined) return { suggestion: `${clock.text}: set the clocks right` }
  const expiresAtMs = token === undefined ? undefined : expiryOf(token)
  if (expiresAtMs === undefined || expiresAtMs > Date.now()) return {}
  return { suggestion: `the token expired ${spanText(Date.now() - expiresAtMs)} ago` }
}

export function expiryText(token: string | undefined): string {
  const expiresAtMs = token === undefined ? undefined : expiryOf(token)
  if (expiresAtMs === undefined) return 'the proxy takes the token'
  const leftMs = expiresAtMs - Date.now()
  return leftMs > 0 ? `the token is good for ${spanText(leftMs)}` : 'the proxy takes the token'
}
