import { remembered } from '../remembered.ts'

/** Where a connection goes on a machine's side. */
export interface Target {
  /** In its one canonical form: two ways to write an address are the same target, to a rule and to a list. */
  readonly host: string
  readonly port: number
  /** `host:port`, an IPv6 address in brackets: as in a URL and a Host header. */
  readonly authority: string
}

const HOST_PORT = /^(\[[0-9A-Fa-f:.]{2,45}\]|[\w.-]{1,253}):([1-9]\d{0,4})$/

/** Reads `host:port`, an IPv6 address in brackets; undefined for anything else. */
export const parseTarget = remembered((text: string): Target | undefined => {
  const [, written = '', digits = ''] = HOST_PORT.exec(text) ?? []
  const port = Number(digits)
  if (port < 1 || port > 65_535 || !URL.canParse(`http://${written}`)) return undefined
  // The URL standard knows all the ways to write an IP address (section 3.5).
  const { hostname } = new URL(`http://${written}`)
  const name = hostname.replace(/\.+$/, '')
  return name === '' ? undefined : { host: name.replace(/^\[|\]$/g, ''), port, authority: `${name}:${port}` }
})
