import { readMachine } from '../protocol/codec/heads.ts'
import { DEFAULT_URL, isLoopback } from './credentials.ts'

export const SUFFIX = '.tunnel'
const DEFAULT_PORT = new URL(DEFAULT_URL).port

/**
 * The name under which ssh files a machine's host key and shows it, whichever way it is reached: never one that could be a
 * real host's, and another one for each proxy, since another proxy's `home` is another machine.
 */
export function hostAlias(machine: string, url: string): string {
  return `${hostName(machine)}${SUFFIX}${aliasTail(url)}`
}

/**
 * A machine as the name of a host, for whatever splits at a slash or takes what stands before the last @ for an account:
 * `home+alice` of `alice/home`, with + for an @ in the owner's id and =XX, the byte in hex, for what else ssh does not
 * take or does not tell apart.
 */
export function hostName(machine: string): string {
  const { owner, name } = readMachine(machine)
  if (owner === undefined) return name
  const asHost = owner.replaceAll(/[^a-z0-9._@-]/g, (letter) => `=${letter.charCodeAt(0).toString(16)}`)
  return `${name}+${asHost.replaceAll('@', '+')}`
}

/** The machine that `hostName` made this of; the text itself where it is none of those. */
function machineOfName(text: string): string {
  const [, name, asHost] = /^([^+/]+)\+([^/]+)$/.exec(text) ?? []
  if (name === undefined || asHost === undefined) return text
  const owner = asHost
    .replaceAll('+', '@')
    .replaceAll(/=([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return `${owner}/${name}`
}

/** What follows `MACHINE.tunnel` in an alias. */
export function aliasTail(url: string): string {
  const { host, port } = new URL(url)
  if (!isLoopback(url)) return `.${host.replace(/[^\w.-]/g, '-')}${SUFFIX}`
  return port === DEFAULT_PORT ? '' : `.localhost-${port || '80'}${SUFFIX}`
}

/**
 * `home` of `home.tunnel`, as a section "Host *.tunnel" has it, and `alice/home` of `home+alice.tunnel`.
 * @param context by whose name a host may be called, as `home.CONTEXT.tunnel`
 */
export function machineOfHost(host: string, context?: string): string {
  if (!host.endsWith(SUFFIX)) return host
  const name = host.slice(0, -SUFFIX.length)
  const isOfContext = context !== undefined && name.endsWith(`.${context}`)
  return machineOfName(isOfContext ? name.slice(0, -context.length - 1) : name)
}

/** A machine as `machineOfHost` reads it. */
export function hostOf(machine: string): string {
  return machine.endsWith(SUFFIX) ? `${machine}${SUFFIX}` : machine
}

/** ssh's own patience, in unanswered ServerAliveIntervals: the session outlives an outage, and the tunnel says when it is over. */
export const ALIVE_COUNT = 600
