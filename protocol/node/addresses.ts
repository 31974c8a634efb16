import { BlockList, isIP } from 'node:net'
import { remembered } from '../remembered.ts'

/** Addresses by what they are, however they are written. Hosts have no brackets. */

/** One that stands for an IPv4 address: mapped (RFC 4291, section 2.5.5.2). */
const MAPPED = { prefix: [0, 0, 0, 0, 0, 0xffff], at: 6 }
/** Those that some router may turn into one: compatible (2.5.5.1), SIIT (RFC 2765), NAT64 (RFC 6052), 6to4 (RFC 3056). */
const TRANSLATED = [
  { prefix: [0, 0, 0, 0, 0, 0], at: 6 },
  { prefix: [0, 0, 0, 0, 0xffff, 0], at: 6 },
  { prefix: [0x64, 0xff9b, 0, 0, 0, 0], at: 6 },
  { prefix: [0x2002], at: 1 },
]

/**
 * An address as the URL standard writes it (section 3.5), without brackets and zone; a mapped IPv4 address as what it is.
 * A name in lower case and without dots at its end.
 */
export function canonicalHost(host: string): string {
  const [bare = ''] = host.replace(/^\[|\]$/g, '').split('%')
  const written = bare.includes(':') ? `[${bare}]` : bare
  if (!URL.canParse(`http://${written}`)) return bare.toLowerCase()
  const name = new URL(`http://${written}`).hostname.replace(/^\[|\]$|\.+$/g, '')
  return ipv4In(name, [MAPPED]) ?? name
}

/** The IPv4 addresses that a canonical IPv6 address may lead to in the end. */
export function translatedTo(address: string): string | undefined {
  return ipv4In(address, TRANSLATED)
}

function ipv4In(address: string, forms: readonly { prefix: number[]; at: number }[]): string | undefined {
  if (isIP(address) !== 6) return undefined
  const groups = groupsOf(address)
  const form = forms.find(({ prefix }) => prefix.every((group, index) => groups[index] === group))
  if (form === undefined) return undefined
  const [high = 0, low = 0] = groups.slice(form.at)
  // `::` and `::1` are no IPv4 addresses.
  return high === 0 && form.prefix.every((group) => group === 0)
    ? undefined
    : [high >> 8, high & 255, low >> 8, low & 255].join('.')
}

/** The eight groups of an address in the form of the URL standard, which has no dots. */
function groupsOf(address: string): number[] {
  const [head = '', tail] = address.split('::')
  const read = (text: string) =>
    text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16))
  const [first, last] = [read(head), read(tail ?? '')]
  return [...first, ...new Array<number>(8 - first.length - last.length).fill(0), ...last]
}

/** Where a NAT64 with a prefix of its own has the four bytes of an IPv4 address (RFC 6052, section 2.2), by its length. */
const NAT64_BYTES = [
  [4, 5, 6, 7],
  [5, 6, 7, 9],
  [6, 7, 9, 10],
  [7, 9, 10, 11],
  [9, 10, 11, 12],
  [12, 13, 14, 15],
] as const

/** What a canonical IPv6 address leads to where its network has a prefix for NAT64: which, nobody else can know. */
function perhapsTranslatedTo(address: string): string[] {
  if (isIP(address) !== 6) return []
  const bytes = groupsOf(address).flatMap((group) => [group >> 8, group & 255])
  return NAT64_BYTES.map((places) => places.map((place) => bytes[place]).join('.'))
}

/** A network such as `10.0.0.0/8`; undefined for what is none. */
export function networkIn(text: string): ((host: string) => boolean) | undefined {
  const [, address = '', bits = ''] = /^\[?([\d.]+|[0-9a-f:.]+)\]?\/(\d{1,3})\]?$/i.exec(text) ?? []
  const family = isIP(address)
  if (family === 0 || Number(bits) > (family === 4 ? 32 : 128)) return undefined
  const list = new BlockList()
  list.addSubnet(address, Number(bits), family === 4 ? 'ipv4' : 'ipv6')
  return (host) => has(list, host)
}

function has(list: BlockList, host: string): boolean {
  const family = isIP(host)
  return family !== 0 && list.check(host, family === 4 ? 'ipv4' : 'ipv6')
}

/**
 * Where clouds tell whoever asks from inside who that is, with keys: link-local (AWS, Azure, GCP, OpenStack, Oracle and
 * most others), and what some have besides.
 */
const METADATA = new BlockList()
METADATA.addSubnet('169.254.0.0', 16, 'ipv4')
METADATA.addSubnet('fe80::', 10, 'ipv6')
METADATA.addSubnet('fd00:ec2::', 32, 'ipv6') // AWS
METADATA.addAddress('fd20:ce::254', 'ipv6') // GCP
METADATA.addAddress('fd00:a9fe:a9fe::1', 'ipv6') // Akamai (Linode)
METADATA.addAddress('fd00:42::42', 'ipv6') // Scaleway
/** Single ones: no address of anything else has these bytes by chance. */
const METADATA_V4 = new BlockList()
METADATA_V4.addAddress('169.254.169.254', 'ipv4')
METADATA_V4.addAddress('169.254.170.2', 'ipv4') // AWS, containers
METADATA_V4.addAddress('169.254.170.23', 'ipv4') // AWS, pods
METADATA_V4.addAddress('100.100.100.200', 'ipv4') // Alibaba
METADATA_V4.addAddress('168.63.129.16', 'ipv4') // Azure
METADATA_V4.addAddress('192.0.0.192', 'ipv4') // Oracle
const METADATA_NAMES: ReadonlySet<string> = new Set([
  ...['metadata', 'metadata.google.internal', 'metadata.goog'],
  ...['instance-data', 'instance-data.ec2.internal'],
  ...['metadata.azure.internal', 'metadata.tencentyun.com'],
])

/** Whether a host, in any spelling, is a cloud's metadata service: nothing of ours ever connects to one. */
export const isMetadata = remembered((host: string): boolean => {
  const name = canonicalHost(host)
  if (METADATA_NAMES.has(name) || isMetadataAddress(name)) return true
  const hidden = translatedTo(name)
  if (hidden !== undefined && isMetadataAddress(hidden)) return true
  return perhapsTranslatedTo(name).some((address) => has(METADATA_V4, address))
})

function isMetadataAddress(address: string): boolean {
  return has(METADATA, address) || has(METADATA_V4, address)
}

const LINK_LOCAL_6 = new BlockList()
LINK_LOCAL_6.addSubnet('fe80::', 10, 'ipv6')

/** Whether a canonical address means something on one network interface alone. */
export function isLinkLocal6(address: string): boolean {
  return has(LINK_LOCAL_6, address)
}

const LOOPBACK = new BlockList()
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4')
LOOPBACK.addAddress('::1', 'ipv6')
// To connect to the unspecified address is to connect to oneself; the rest of its network is never another's.
LOOPBACK.addSubnet('0.0.0.0', 8, 'ipv4')
LOOPBACK.addAddress('::', 'ipv6')

/** Whether a canonical host is an address of whoever connects to it, or the one name that everybody has for that. */
export function isLoopbackHost(host: string): boolean {
  return host === 'localhost' || has(LOOPBACK, host)
}
