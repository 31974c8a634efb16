import { machineAsHost, machineOfHostName } from '../protocol/codec/machine-host.ts'
import { DEFAULT_URL, isLoopback } from './credentials.ts'

export const SUFFIX = '.tunnel'
const DEFAULT_PORT = new URL(DEFAULT_URL).port

/**
 * The name under which ssh files a machine's host key and shows it, whichever way it is reached: never one that could be a
 * real host's, and another one for each proxy, since another proxy's `home` is another machine.
 */
export function hostAlias(machine: string, url: string): string {
  return `${machineAsHost(machine)}${SUFFIX}${aliasTail(url)}`
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
  return machineOfHostName(isOfContext ? name.slice(0, -context.length - 1) : name)
}

/** A machine as `machineOfHost` reads it. */
export function hostOf(machine: string): string {
  return machine.endsWith(SUFFIX) ? `${machine}${SUFFIX}` : machine
}

/** ssh's own patience, in unanswered ServerAliveIntervals: the session outlives an outage, and the tunnel says when it is over. */
export const ALIVE_COUNT = 600
