import { parseTarget } from '../../protocol/codec/target.ts'
import { UsageError } from '../failure.ts'
import { machineOfHost } from '../host-alias.ts'
import { checkMachineOf } from '../machine-name.ts'
import { type LocalAddress, parseLocalAddress } from './local-address.ts'

/** One local address, and where its connections go. */
export interface Forward {
  listen: LocalAddress
  machine: string
  /** `host:port` as the machine's side sees it. */
  target: string
}

const FORM = '[BIND:]PORT:MACHINE:HOST:PORT'
/** From the end: a local socket's path may hold colons. */
const FIELDS =
  /^(?<local>.+):(?<machine>(?:[^:[\]/]+\/)?[^:[\]/]+):(?<target>(?:\[[^\]]+\]|[^:[\]/]+):\d{1,5})$/
const REMOTE_SOCKET = /^(?<local>.+):(?<machine>(?:[^:[\]/]+\/)?[^:[\]/]+):(?<path>\/[^:]*)$/

/** Reads what `ssh -L` has, with the machine before the host. @throws {UsageError} */
export function parseForward(text: string): Forward {
  const socket = REMOTE_SOCKET.exec(text)?.groups
  if (socket !== undefined) {
    const { local, machine, path } = socket
    throw new UsageError(
      `${path}: only HOST:PORT can be reached on the machine, not a Unix socket; \`tunnel ssh -N -L ${local}:${path} ${machine}\` reaches it`,
    )
  }
  const { local, machine: host = '', target: written = '' } = FIELDS.exec(text)?.groups ?? {}
  if (local === undefined) throw new UsageError(`"${text}" is not a forward: ${meant(text)}`)
  const machine = machineOfHost(host)
  checkMachineOf(machine)
  const target = parseTarget(written)?.authority
  if (target === undefined) throw new UsageError(`"${written}" in "${text}" is not a valid HOST:PORT`)
  const listen = parseLocalAddress(local)
  if (listen === undefined)
    throw new UsageError(`"${local}" in "${text}" is neither [BIND:]PORT nor the path of a socket`)
  return { listen, machine, target }
}

/** Whoever leaves the host out means the machine itself; one that writes a host as ssh does has left out the machine. */
function meant(text: string): string {
  const [, local, machine, port] = /^(\d+):((?!localhost:)[^.:[\]/]+):(\d{1,5})$/.exec(text) ?? []
  return port === undefined
    ? `it must look like ${FORM}`
    : `did you mean ${local}:${machine}:127.0.0.1:${port}?`
}

/** All of them. @throws {UsageError} also for two that listen at the same place */
export function parseForwards(texts: readonly string[]): Forward[] {
  const [first = '', ...more] = texts
  // As ssh has it: the machine once, and then the forwards.
  if (!first.includes(':') && more.length > 0) {
    const [local, far] = more[0]?.split(/:(?=[^:]+:\d+$)/) ?? []
    const suggestion = far === undefined ? FORM : `${local}:${first}:${far}`
    throw new UsageError(`the machine stands within each forward: ${suggestion}`)
  }
  const seen = new Set<string>()
  return texts.map((text) => {
    const forward = parseForward(text)
    const { listen } = forward
    const place = JSON.stringify(listen)
    const isAnyPort = listen.kind === 'tcp' && listen.port === 0
    if (!isAnyPort && seen.has(place))
      throw new UsageError(`"${text}": another forward listens there already`)
    seen.add(place)
    return forward
  })
}
