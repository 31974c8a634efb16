import { isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import { canonicalHost, translatedTo } from './addresses.ts'

/** Whether a canonical host is an address that leads to a network interface of the computer which this process runs on. */
export function isOwnAddress(host: string): boolean {
  if (isIP(host) === 0) return false
  const hidden = translatedTo(host)
  const own = Object.values(networkInterfaces()).flatMap((each) => each ?? [])
  return own.map(({ address }) => canonicalHost(address)).some((each) => each === host || each === hidden)
}
