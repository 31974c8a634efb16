import { isIPv4, isIPv6, SocketAddress } from 'node:net'

/** Groups of an IPv6 address that are somebody's network: who has one address of it has all. */
const NETWORK_GROUPS = 4
/** What some reverse proxies write: an address with its port. */
const WITH_PORT = /^(?:\[([\da-f:.]+)\]|(\d+(?:\.\d+){3}))(?::\d+)?$/i
/** Whoever is behind an address that is none is one with all others of that kind. */
const NOWHERE = 'unknown'

/**
 * An address as what is counted for its owner: an IPv6 network of 64 bits, and IPv4 as it is, also where it stands in an
 * IPv6 address (RFC 4291, section 2.5.5.2). However it is spelled: a reverse proxy's header is not the system's own writing.
 */
export function networkOf(address: string): string {
  if (isIPv4(address)) return address
  const [, six, four] = WITH_PORT.exec(address) ?? []
  if (four !== undefined) return isIPv4(four) ? four : NOWHERE
  const text = six ?? address
  if (!isIPv6(text)) return NOWHERE
  const plain = new SocketAddress({ address: text, family: 'ipv6' }).address
  const mapped = /^::ffff:([\d.]+)$/.exec(plain)?.[1]
  if (mapped !== undefined) return mapped
  const [head = '', tail] = plain.split('::')
  const groups = head === '' ? [] : head.split(':')
  if (tail !== undefined) while (groups.length < NETWORK_GROUPS) groups.push('0')
  return groups.slice(0, NETWORK_GROUPS).join(':')
}
