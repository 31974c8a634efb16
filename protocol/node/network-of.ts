/** Groups of an IPv6 address that are somebody's network: who has one address of it has all. */
const NETWORK_GROUPS = 4

/** An address as what is counted for its owner. As the system writes it: `::` stands for as many groups of zeros as are missing. */
export function networkOf(address: string): string {
  const mapped = /^::ffff:([\d.]+)$/i.exec(address)?.[1]
  if (mapped !== undefined || !address.includes(':')) return mapped ?? address
  const [head = '', tail] = address.split('::')
  const groups = head === '' ? [] : head.split(':')
  if (tail !== undefined) while (groups.length < NETWORK_GROUPS) groups.push('0')
  return groups.slice(0, NETWORK_GROUPS).join(':')
}
