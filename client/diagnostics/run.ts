import type { ProxyAddress } from '../../dial/addresses.ts'
import type { Reach } from '../../protocol/options.ts'
import type { TunnelClient } from '../tunnel-client.ts'
import { type Subject, tryLink } from './proxy-steps.ts'
import { type DiagnosticOptions, type DiagnosticReport, MACHINE_STEPS } from './report.ts'
import { Steps } from './steps.ts'

/** What a platform can look at. */
export interface Means<Client extends TunnelClient> {
  /** The steps before the upgrade. Answers why no link can be tried, or nothing. */
  tryNetwork(url: string, reach: Reach, steps: Steps): Promise<string | undefined>
  /** The steps behind the proxy. */
  tryMachine(client: Client, machine: string, target: string | undefined, steps: Steps): Promise<void>
}

/** Tries the whole way, hop by hop, on a link of its own; stops at nothing that can still be tried. */
export async function diagnose<Client extends TunnelClient>(
  addresses: readonly ProxyAddress[],
  subject: Subject<Client>,
  means: Means<Client>,
  options: DiagnosticOptions,
): Promise<DiagnosticReport> {
  const steps = new Steps(options)
  let client: Client | undefined
  try {
    for (const address of addresses) {
      if (addresses.length > 1) steps.address = new URL(address.api).origin
      const another = await tryAddress(address, subject, means, steps)
      if (client === undefined) client = another
      else await another?.disconnect(0)
    }
    steps.address = undefined
    const { machine, target } = options
    if (machine === undefined) steps.skip(MACHINE_STEPS, 'no machine was named')
    else if (client === undefined) steps.skip(MACHINE_STEPS, 'there is no link')
    else await means.tryMachine(client, machine, target, steps)
  } finally {
    await client?.disconnect(0)
  }
  return steps.report()
}

async function tryAddress<Client extends TunnelClient>(
  address: ProxyAddress,
  subject: Subject<Client>,
  means: Means<Client>,
  steps: Steps,
): Promise<Client | undefined> {
  const obstacle = await means.tryNetwork(address.link, await subject.reach(), steps)
  if (obstacle === undefined) return tryLink(address, subject, steps)
  steps.skip(['upgrade', 'authentication', 'hello', 'round-trip'], obstacle)
  return undefined
}
