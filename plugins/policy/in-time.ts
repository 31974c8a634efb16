import { type Clock, systemClock } from '../../protocol/clock.ts'
import { inTime } from '../../protocol/in-time.ts'
import { policyLate } from './errors.ts'
import type { Policy } from './index.ts'

/**
 * Gives each answer of a policy `ms`: a plugin's may ask another computer, and everybody's streams wait for it. Whoever is not
 * answered is refused. The policy stays the object that it is, with whatever else its plugin has put there.
 * @param failed told each time: nobody else would learn whose fault it is
 */
export function answerInTime(
  policy: Policy,
  ms: number,
  failed: (error: Error) => void,
  clock: Clock = systemClock,
): void {
  const late = (): Error => {
    const error = policyLate(ms)
    failed(error)
    return error
  }
  const { check, explain } = policy
  policy.check = (...asked) => inTime(() => check.apply(policy, asked), ms, late, clock)
  if (explain === undefined) return
  policy.explain = (...asked) => inTime(() => explain.apply(policy, asked), ms, late, clock)
}
