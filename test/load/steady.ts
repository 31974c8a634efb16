import { percentile } from '../support/percentile.ts'

/** Of requests, each counted from when it was due. */
export interface Outcome {
  requests: number
  errors: Record<string, number>
  p50Ms: number
  p95Ms: number
  p99Ms: number
}

/** So many requests a second, whether or not those before have been answered: each is late by what it had to wait. */
export async function steadily(
  ask: (index: number) => Promise<number>,
  perSecond: number,
  seconds: number,
): Promise<Outcome> {
  const took: number[] = []
  const errors: Record<string, number> = {}
  const pending: Promise<void>[] = []
  const beganMs = performance.now()
  const requests = perSecond * seconds
  const one = async (index: number): Promise<void> => {
    const dueMs = beganMs + (index * 1_000) / perSecond
    try {
      const status = await ask(index)
      if (status !== 200) throw Object.assign(new Error(), { code: `status ${status}` })
      took.push(performance.now() - dueMs)
    } catch (error) {
      const { code = String(error) } = error as { code?: string }
      errors[code] = (errors[code] ?? 0) + 1
    }
  }
  while (pending.length < requests) {
    const due = Math.min(requests, Math.floor(((performance.now() - beganMs) * perSecond) / 1_000) + 1)
    while (pending.length < due) pending.push(one(pending.length))
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  await Promise.all(pending)
  const [p50Ms, p95Ms, p99Ms] = [0.5, 0.95, 0.99].map((share) => percentile(took, share)) as [
    number,
    number,
    number,
  ]
  return { requests, errors, p50Ms, p95Ms, p99Ms }
}
