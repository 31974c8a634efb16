import { machineAsHost } from '../../protocol/codec/machine-host.ts'
import { ALIVE_COUNT, aliasTail, hostAlias, hostOf, SUFFIX } from '../host-alias.ts'
import { proxyCommand } from '../self.ts'

const BEGIN = '# >>> tunnel ssh-config >>>'
const END = '# <<< tunnel ssh-config <<<'
/** In place of a machine's name. */
const OTHERS = 'all others'
const NOTE = '# Made by `tunnel ssh-config --write`, which replaces what stands between these two lines.'

/** The proxy of a section. */
export interface Destination {
  /** The first one names the host-key aliases. */
  urls: readonly [string, ...string[]]
  /** Options by which `tunnel stdio` reaches it. */
  options: readonly string[]
  /** By whose name its machines can be told from those of another proxy: `home.CONTEXT.tunnel`. */
  context?: string
}

/** How one machine is reached by plain ssh, and by which names. */
function hostSection(machine: string, { urls: [url], options, context }: Destination): string {
  const host = hostOf(machine)
  const alias = hostAlias(machine, url)
  const name = machineAsHost(machine)
  return [
    `# ${machine} at ${url}`,
    `Host ${[name, ...ends(context).map((end) => name + end)].join(' ')}`,
    // As well, so that a ControlPath or a section for a real host of that name is not shared.
    `  HostName ${alias}`,
    `  HostKeyAlias ${alias}`,
    `  ProxyCommand ${proxyCommand(['stdio', ...options, host])}`,
    `  ServerAliveCountMax ${ALIVE_COUNT}`,
    '',
  ].join('\n')
}

/** What may follow a machine's name. */
function ends(context: string | undefined): string[] {
  return context === undefined ? [SUFFIX] : [SUFFIX, `.${context}${SUFFIX}`]
}

/** How every other machine is reached. HostKeyAlias knows no %h, so HostName names the key alone. */
function restSection({ urls: [url], options }: Destination, context?: string): string {
  return [
    `# ${OTHERS}${context === undefined ? '' : ` of ${context}`} at ${url}`,
    `Host *${ends(context).at(-1)}`,
    `  HostName %h${aliasTail(url)}`,
    `  ProxyCommand ${proxyCommand(['stdio', ...options])} %n`,
    `  ServerAliveCountMax ${ALIVE_COUNT}`,
    '',
  ].join('\n')
}

/**
 * The part of ssh's configuration that is ours, for these machines of one proxy.
 * @param before the part as it was: what it says of other proxies' machines stays, behind this one's
 */
export function section(machines: readonly string[], proxy: Destination, before = ''): string {
  const [url] = proxy.urls
  const kept = partsOf(before).filter((part) => {
    const [, name, where] = /^# (.+) at (.+)\n/.exec(part) ?? []
    return name !== undefined && name !== OTHERS && where !== url
  })
  const own = machines.map((machine) => hostSection(machine, proxy))
  // ssh takes the first value it finds.
  const rest = [
    ...(proxy.context === undefined ? [] : [restSection(proxy, proxy.context)]),
    restSection(proxy),
  ]
  return [`${BEGIN}\n${NOTE}\n`, ...own, ...kept, ...rest, `${END}\n`].join('')
}

/** The machines of a proxy for which a section has names. */
export function machinesIn(text: string, url: string): string[] {
  return partsOf(text).flatMap((part) => {
    const [, name, where] = /^# (.+) at (.+)\n/.exec(part) ?? []
    return name !== undefined && !name.startsWith(OTHERS) && where === url ? [name] : []
  })
}

/** The sections of single hosts, each with its heading. */
function partsOf(text: string): string[] {
  return text.split(/^(?=# .+ at )/m).map((part) => part.replace(new RegExp(`^${END}\n?`, 'm'), ''))
}

export interface Split {
  before: string
  /** Ours, with its two marks; empty where there is none. */
  ours: string
  after: string
}

/** A configuration as what is ours and what is not; undefined when a section of ours has no end. */
export function split(text: string): Split | undefined {
  const found = new RegExp(`^${BEGIN}\\r?\\n(?:(?!${BEGIN})[^])*?^${END}(?:\\r?\\n|$(?![^]))`, 'm').exec(text)
  const rest = found === null ? text : text.slice(0, found.index) + text.slice(found.index + found[0].length)
  const isOdd = new RegExp(`^(${BEGIN}|${END})\\r?$`, 'm').test(rest)
  if (isOdd) return undefined
  if (found === null) return { before: text, ours: '', after: '' }
  return {
    before: text.slice(0, found.index),
    ours: found[0].replaceAll('\r', ''),
    after: text.slice(found.index + found[0].length),
  }
}

/** A configuration in which `ours` stands where it stood, or else at the end: ssh takes the first value it finds. */
export function joined({ before, ours: former, after }: Split, ours: string): string {
  if (former !== '' || before === '') return before + ours + after
  const gap = before.endsWith('\n\n') ? '' : before.endsWith('\n') ? '\n' : '\n\n'
  return before + gap + ours
}

/** The line, from 1, in which a configuration names `host` in a Host section of its own; undefined where it does not. */
export function lineOfHost(text: string, host: string): number | undefined {
  const index = text.split('\n').findIndex((line) => {
    const [, words] = /^\s*host[\s=]+(.*)$/i.exec(line) ?? []
    return words?.split(/[\s"]+/).includes(host) === true
  })
  return index === -1 ? undefined : index + 1
}
