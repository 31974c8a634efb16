import { TunnelService } from '../client/index.ts'
import { type AccessOptions, accessFrom } from './credentials.ts'

/** Connects for the length of `use`, and ends what is left of it. */
export async function withTunnel<T>(
  options: AccessOptions,
  use: (tunnel: TunnelService) => Promise<T>,
): Promise<T> {
  const { urls, token, profile } = accessFrom(options)
  const tunnel = new TunnelService({ url: urls, token, ...(profile !== undefined && { profile }) })
  let failed = true
  try {
    await tunnel.connect()
    const result = await use(tunnel)
    failed = false
    return result
  } finally {
    // What failed has nothing under way that would be worth waiting for.
    await tunnel.disconnect(failed ? 0 : undefined)
  }
}
