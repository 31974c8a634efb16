import type { ProxyAddress } from '../../dial/addresses.ts'
import { MACHINE_STEPS, type MachineClient, tryMachine } from './machine-steps.ts'
import { tryNetwork } from './network.ts'
import { type Subject, tryLink } from './proxy-steps.ts'
import type { DiagnosticOptions, DiagnosticReport } from './report.ts'
import { Steps } from './steps.ts'

/** Tries the whole way, hop by hop, on a link of its own; stops at nothing that can still be tried. */
export async function diagnose(
  addresses: readonly ProxyAddress[],
  subject: Subject<MachineClient>,
  options: DiagnosticOptions,
): Promise<DiagnosticReport> {
  const steps = new Steps(options)
  let client: MachineClient | undefined
  try {
    for (const address of addresses) {
      if (addresses.length > 1) steps.address = new URL(address.api).origin
      const another = await tryAddress(address, subject, steps)
      if (client === undefined) client = another
      else await another?.disconnect(0)
    }
    steps.address = undefined
    const { machine, target } = options
    if (machine === undefined) steps.skip(MACHINE_STEPS, 'no machine was named')
    else if (client === undefined) steps.skip(MACHINE_STEPS, 'there is no link')
    else await tryMachine(client, machine, target, steps)
  } finally {
    await client?.disconnect(0)
  }
  return steps.report()
}

async function tryAddress(
  address: ProxyAddress,
  subject: Subject<MachineClient>,
  steps: Steps,
): Promise<MachineClient | undefined> {
  const obstacle = await tryNetwork(address.link, await subject.reach(), steps)
  if (obstacle === undefined) return tryLink(address, subject, steps)
  steps.skip(['upgrade', 'authentication', 'hello', 'round-trip'], obstacle)
  return undefined
}
