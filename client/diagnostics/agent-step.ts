import { TunnelError } from '../../protocol/codec/errors.ts'
import type { TunnelClient } from '../tunnel-client.ts'
import { spanText } from './spans.ts'
import type { Steps } from './steps.ts'

/** What the proxy knows of the machine; `off line` when that was told as the failure. */
export async function tellAgent(
  client: TunnelClient,
  machine: string,
  steps: Steps,
): Promise<{ hostKeyChanged: boolean; hostKey: string | undefined } | 'off line'> {
  let found: { hostKeyChanged: boolean; hostKey: string | undefined } | undefined
  const isThere = await steps.run('agent', async () => {
    const machines = await client.machines()
    const entry = machines.find(({ name }) => name === machine)
    if (entry === undefined) {
      const names = machines.map(({ name }) => name).slice(0, 8)
      const known = names.length === 0 ? 'you have no machine yet' : `yours: ${names.join(', ')}`
      throw new TunnelError('MACHINE_UNKNOWN', `there is no machine "${machine}" (${known})`, {
        hop: 'proxy',
      })
    }
    const sinceMs = entry.since === undefined ? undefined : Date.now() - Date.parse(entry.since)
    const since = sinceMs === undefined ? '' : ` for ${spanText(Math.max(0, sinceMs))}`
    if (!entry.online)
      throw new TunnelError('MACHINE_OFFLINE', `${machine} is off line${since}`, { hop: 'agent' })
    found = { hostKeyChanged: entry.hostKeyChanged, hostKey: entry.hostKeys[0]?.fingerprint }
    if (entry.source === 'configured') return 'a host of the proxy, which needs no agent'
    return `on line${since}${entry.agentVersion === undefined ? '' : `, ${entry.agentVersion}`}`
  })
  return isThere && found !== undefined ? found : 'off line'
}
