import { readMachine } from './heads.ts'

/**
 * A machine as the name of a host, for URLs, and whatever splits at a slash or takes what stands before the last @ for an account:
 * `home+alice` of `alice/home`, with + for an @ in the owner's id and =XX, the byte in hex, for what else ssh does not
 * take or does not tell apart.
 */
export function machineAsHost(machine: string): string {
  const { owner, name } = readMachine(machine)
  if (owner === undefined) return name
  const asHost = owner.replaceAll(/[^a-z0-9._@-]/g, (letter) => `=${letter.charCodeAt(0).toString(16)}`)
  return `${name}+${asHost.replaceAll('@', '+')}`
}

/** The machine that `machineAsHost` made this of; the text itself where it is none of those. */
export function machineOfHostName(text: string): string {
  const [, name, asHost] = /^([^+/]+)\+([^/]+)$/.exec(text) ?? []
  if (name === undefined || asHost === undefined) return text
  const owner = asHost
    .replaceAll('+', '@')
    .replaceAll(/=([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return `${owner}/${name}`
}
