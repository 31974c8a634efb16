import { isIP } from 'node:net'
import { parseTarget } from '../../protocol/codec/target.ts'
import { canonicalHost, isLoopbackHost, networkIn, translatedTo } from '../../protocol/node/addresses.ts'
import { remembered } from '../../protocol/remembered.ts'
import { globMatches } from './glob.ts'

/** A target that a stream asks for, in every spelling that a rule may have meant. */
export interface AskedTarget {
  /** One that only a rule which denies has to know. */
  readonly spellings: readonly { host: string; isExact: boolean }[]
  readonly port: number
  /** An address of the machine's own, or `localhost`. */
  readonly isLoopback: boolean
}

/** Of a rule: whether it means this target. */
export type TargetPattern = (asked: AskedTarget, isDeny: boolean) => boolean

/** What a machine calls itself: whatever it serves at one of these can be reached by the others too. */
const LOOPBACK = ['127.0.0.1', '::1', 'localhost']
/** As /etc/hosts of common systems has them. */
const LOOPBACK_NAMES: ReadonlySet<string> = new Set([
  ...['localhost', 'localhost.localdomain', 'localhost4', 'localhost6', 'ip6-localhost', 'ip6-loopback'],
])

/** @param authority `host:port` */
export const askedTarget = remembered((authority: string): AskedTarget => {
  const at = authority.lastIndexOf(':')
  const host = canonicalHost(authority.slice(0, at))
  const spellings = [{ host, isExact: true }]
  const hidden = translatedTo(host)
  if (hidden !== undefined) spellings.push({ host: hidden, isExact: false })
  const isOwn = isLoopbackHost(host) || LOOPBACK_NAMES.has(host) || host.endsWith('.localhost')
  if (isOwn) spellings.push(...LOOPBACK.map((name) => ({ host: name, isExact: false })))
  return { spellings, port: Number(authority.slice(at + 1)), isLoopback: isLoopbackHost(host) }
})

const HOST_AND_PORTS = /^(.+):(\*|\d{1,5}(?:-\d{1,5})?)$/
const HOST_GLOB = /^[\w.*:-]+$/

/**
 * `HOST:PORTS`. The host is a name or an address, with `*` for any text, or a network such as `10.0.0.0/8`; IPv6 stands
 * in brackets. The ports are one, a range such as `8000-8999`, or `*`. `*` alone is every target. Undefined for what is
 * none of these.
 */
export function targetPattern(text: string): TargetPattern | undefined {
  if (text === '*') return () => true
  const [, host = '', range = ''] = HOST_AND_PORTS.exec(text) ?? []
  const isPort = portsOf(range)
  const isHost = hostPattern(host.toLowerCase())
  if (isPort === undefined || isHost === undefined) return undefined
  return ({ spellings, port }, isDeny) =>
    isPort(port) && spellings.some(({ host, isExact }) => (isExact || isDeny) && isHost(host))
}

/** Whether a pattern is about the one host that it names, and not about whatever fits. */
export function isOneHost(text: string): boolean {
  const [, host = ''] = HOST_AND_PORTS.exec(text) ?? []
  return host !== '' && !/[*/]/.test(host)
}

function hostPattern(host: string): ((host: string) => boolean) | undefined {
  if (host.includes('/')) return networkIn(host)
  const bare = host.replace(/^\[(.*)\]$/, '$1')
  if (bare.includes('*')) {
    if (!HOST_GLOB.test(bare)) return undefined
    // `10.0.0.*` is about addresses, and not about 10.0.0.example.com.
    const isOfAddresses = /^[\d.*]*\d[\d.*]*$/.test(bare)
    return (asked) => globMatches(bare, asked) && !(isOfAddresses && isIP(asked) === 0)
  }
  const target = parseTarget(`${host}:1`)
  if (target === undefined) return undefined
  const meant = canonicalHost(target.host)
  return (asked) => asked === meant
}

const MAX_PORT = 65_535

function portsOf(range: string): ((port: number) => boolean) | undefined {
  if (range === '*') return () => true
  const [least = 0, most = least] = range.split('-').map(Number)
  if (least < 1 || most > MAX_PORT || most < least) return undefined
  return (port) => port >= least && port <= most
}
