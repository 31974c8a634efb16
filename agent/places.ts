import { TunnelError } from '../protocol/codec/errors.ts'
import { isMachineName, MACHINE_NAME_RULE } from '../protocol/codec/heads.ts'
import { parseTarget, type Target } from '../protocol/codec/target.ts'

/** What an agent is started with. Gives the targets, in their order. @throws {TunnelError} CONFIG_INVALID, with all mistakes */
export function checkPlaces(machine: string, targets: readonly string[]): Target[] {
  const mistakes: string[] = []
  if (!isMachineName(machine)) {
    mistakes.push(`machine = ${JSON.stringify(machine)}: ${MACHINE_NAME_RULE}`)
  }
  const parsed = targets.flatMap((target) => {
    const found = parseTarget(target)
    if (found === undefined) mistakes.push(`${JSON.stringify(target)} is not HOST:PORT`)
    return found ?? []
  })
  if (mistakes.length > 0) throw new TunnelError('CONFIG_INVALID', mistakes.join('; '), { hop: 'agent' })
  return parsed
}
