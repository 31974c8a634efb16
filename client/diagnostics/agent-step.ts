import { TunnelError } from '../../protocol/codec/errors.ts'
import { nearest } from '../../protocol/nearest.ts'
import type { TunnelClient } from '../tunnel-client.ts'
import { spanText } from './spans.ts'
import type { Steps } from './steps.ts'

/** How many machines are named to somebody who names another. */
const MAX_SHOWN = 8

export interface MachineFound {
  hostKeyChanged: boolean
  hostKey: string | undefined
}

/** What the proxy knows of the machine, or why nothing more can be tried, when that was told as the failure. */
export async function tellAgent(
  client: TunnelClient,
  machine: string,
  steps: Steps,
): Promise<MachineFound | 'off line' | 'not one of yours'> {
  let found: MachineFound | undefined
  let isKnown = true
  const isThere = await steps.run('agent', async () => {
    const machines = await client.machines()
    const entry = machines.find(({ name }) => name === machine)
    isKnown = entry !== undefined
    if (entry === undefined) throw unknown(machine, machines)
    const sinceMs = entry.since === undefined ? undefined : Date.now() - Date.parse(entry.since)
    const since = sinceMs === undefined ? '' : ` for ${spanText(Math.max(0, sinceMs))}`
    if (!entry.online)
      throw new TunnelError('MACHINE_OFFLINE', `${machine} is off line${since}`, { hop: 'agent' })
    found = { hostKeyChanged: entry.hostKeyChanged, hostKey: entry.hostKeys[0]?.fingerprint }
    if (entry.source === 'configured') return 'a host of the proxy, which needs no agent'
    return `on line${since}${entry.agentVersion === undefined ? '' : `, ${entry.agentVersion}`}`
  })
  if (isThere && found !== undefined) return found
  return isKnown ? 'off line' : 'not one of yours'
}

function unknown(machine: string, machines: readonly { name: string }[]): TunnelError {
  const names = machines.map(({ name }) => name)
  const meant = nearest(machine, names)
  const yours = `yours: ${names.slice(0, MAX_SHOWN).join(', ')}`
  const hint =
    meant !== undefined ? `did you mean ${meant}?` : names.length === 0 ? 'you have no machine yet' : yours
  return new TunnelError('MACHINE_UNKNOWN', `you have no machine named ${machine}; ${hint}`, { hop: 'proxy' })
}
