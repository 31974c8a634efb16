import { globMatches } from './glob.ts'

/** What a machine calls itself: whatever it serves at one of these can be reached by the others too. */
const LOOPBACK = ['127.0.0.1', '[::1]', 'localhost']
const LOOPBACK_NAMES: ReadonlySet<string> = new Set([
  ...LOOPBACK,
  // The unspecified addresses: to connect to one is to connect to oneself.
  ...['0.0.0.0', '[::]'],
  // As /etc/hosts of common systems has them.
  ...['localhost.localdomain', 'localhost4', 'localhost6', 'ip6-localhost', 'ip6-loopback'],
])
const MAPPED_IPV4 = /^\[::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})\]$/

/**
 * Whether one of `globs` matches `target`, a `host:port` in the form that `parseTarget` gives. For a rule that denies,
 * every way to name the machine's own loopback is the same target. For one that allows it is not: another service may
 * listen at another of these addresses.
 */
export function matchesTarget(
  globs: readonly string[],
  target: string,
  { loopbackIsOne }: { loopbackIsOne: boolean },
): boolean {
  const spellings = spellingsOf(target.toLowerCase(), loopbackIsOne)
  return globs.some((glob) => {
    const pattern = glob.toLowerCase()
    return spellings.some((spelling) => globMatches(pattern, spelling))
  })
}

function spellingsOf(target: string, loopbackIsOne: boolean): string[] {
  const at = target.lastIndexOf(':')
  const [written, port] = [target.slice(0, at), target.slice(at)]
  const host = unmapped(written.replace(/\.+$/, ''))
  const hosts = new Set([written, host])
  if (loopbackIsOne && isLoopback(host)) for (const name of LOOPBACK) hosts.add(name)
  return [...hosts].map((name) => `${name}${port}`)
}

/** An IPv4 address that is written as an IPv6 one, as the former. */
function unmapped(host: string): string {
  const [, high, low] = MAPPED_IPV4.exec(host) ?? []
  if (high === undefined || low === undefined) return host
  const [upper, lower] = [Number.parseInt(high, 16), Number.parseInt(low, 16)]
  return [upper >> 8, upper & 255, lower >> 8, lower & 255].join('.')
}

function isLoopback(host: string): boolean {
  return LOOPBACK_NAMES.has(host) || host.endsWith('.localhost') || /^127(\.\d{1,3}){3}$/.test(host)
}
