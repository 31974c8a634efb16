import { isIPv6 } from 'node:net'

/** Where a person wants something to listen on this computer. */
export type LocalAddress =
  | {
      readonly kind: 'tcp'
      /** Undefined: loopback, by IPv4 and IPv6. '*': every address. */
      readonly host: string | undefined
      /** 0: any that is free. */
      readonly port: number
    }
  | { readonly kind: 'unix'; readonly path: string }

const TCP = /^(?:(?<host>\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[^:[\]/\s]*):)?(?<port>\d{1,5})$/

/** Reads `[BIND:]PORT` as ssh does (BIND empty or `*`: every address), or the path of a socket; undefined for anything else. */
export function parseLocalAddress(text: string): LocalAddress | undefined {
  if (text.includes('/')) return text.endsWith('/') ? undefined : { kind: 'unix', path: text }
  const { host, port: digits } = TCP.exec(text)?.groups ?? {}
  const port = Number(digits)
  if (digits === undefined || port > 65_535) return undefined
  if (host === undefined || host === 'localhost') return { kind: 'tcp', host: undefined, port }
  if (host === '' || host === '*') return { kind: 'tcp', host: '*', port }
  const name = host.replace(/^\[|\]$/g, '')
  return host.startsWith('[') && !isIPv6(name) ? undefined : { kind: 'tcp', host: name, port }
}

/** Whether only this computer's own programs come in. */
export function isPrivate(address: LocalAddress): boolean {
  if (address.kind === 'unix' || address.host === undefined) return true
  return address.host === '::1' || /^127(\.\d{1,3}){3}$/.test(address.host)
}

/** `host:port`, an IPv6 address in brackets. */
export function hostPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
