import { machineAsHost } from '../../protocol/codec/machine-host.ts'
import { UsageError } from '../failure.ts'
import { machineOfHost, SUFFIX } from '../host-alias.ts'
import { checkMachineOf } from '../machine-name.ts'

/** What `tunnel cp` was asked to copy, and which way. */
export interface Places {
  machine: string
  direction: 'to machine' | 'from machine'
  sources: string[]
  target: string
}

/** `MACHINE:path`; undefined for a path of this computer, as scp tells them apart. */
function farPlace(word: string): { machine: string; path: string } | undefined {
  const colon = word.indexOf(':')
  const slash = word.indexOf('/')
  if (colon <= 0 || (slash !== -1 && slash < colon)) return undefined
  const host = word.slice(0, colon)
  if (host.includes('@'))
    throw new UsageError(
      `leave out "${host.slice(0, host.indexOf('@') + 1)}": files are copied as the user of the machine's agent`,
    )
  const machine = machineOfHost(host)
  checkMachineOf(machine)
  return { machine, path: word.slice(colon + 1) }
}

/** @throws {UsageError} */
export function placesOf(words: readonly string[]): Places {
  const last = words.at(-1)
  if (last === undefined || words.length < 2)
    throw new UsageError('name what to copy and where to: tunnel cp SOURCE… TARGET')
  if (words.includes('')) throw new UsageError('a path is empty')
  const sources = words.slice(0, -1)
  const far = sources.map(farPlace)
  const farTarget = farPlace(last)
  const machines = new Set(far.map((place) => place?.machine))
  if (farTarget !== undefined && far.some((place) => place !== undefined))
    throw new UsageError(
      'one side has to be this computer: copy from one machine to here, and then to the other',
    )
  if (farTarget !== undefined)
    return { machine: farTarget.machine, direction: 'to machine', sources, target: farTarget.path }
  const [machine] = machines
  if (machine === undefined && machines.size === 1)
    throw new UsageError(
      `neither side is a machine: ${sharedOf(words) ?? 'write MACHINE:path for the one that is (or use cp)'}`,
    )
  if (machines.size > 1 || machine === undefined)
    throw new UsageError('all sources have to be on one machine, or all on this computer')
  return {
    machine,
    direction: 'from machine',
    sources: far.map((place) => place?.path ?? ''),
    target: last,
  }
}

/** What was meant where a path of this computer looks like one on a machine that somebody shares. */
function sharedOf(words: readonly string[]): string | undefined {
  const [, shared, path] =
    words.map((word) => /^([^:/]+\/[^:/]+):(.*)$/.exec(word)).find((found) => found !== null) ?? []
  if (shared === undefined) return undefined
  return `${shared}:${path} is a path of this computer, as in scp; ${shared} of another user is ${machineAsHost(shared)}${SUFFIX}:${path}`
}
