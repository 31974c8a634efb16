import type { Problem } from './errors.ts'
import { isTree, type Tree } from './nodes.ts'

type Relation = 'more than' | 'at least' | 'at most'

/** What one setting's own schema cannot say: how two of them must stand to each other. */
const RULES: readonly { path: string; relation: Relation; than: string }[] = [
  { path: 'heartbeat.timeoutMs', relation: 'more than', than: 'heartbeat.intervalMs' },
  { path: 'backoff.maxMs', relation: 'at least', than: 'backoff.baseMs' },
  { path: 'streams.maxWindowBytes', relation: 'at least', than: 'streams.windowBytes' },
  { path: 'streams.userBudgetBytes', relation: 'at least', than: 'streams.windowBytes' },
  { path: 'tiers.free.budgetBytes', relation: 'at least', than: 'streams.windowBytes' },
  { path: 'tiers.premium.budgetBytes', relation: 'at least', than: 'streams.windowBytes' },
  { path: 'tiers.enterprise.budgetBytes', relation: 'at least', than: 'streams.windowBytes' },
  { path: 'auth.jwks.holdMs', relation: 'at least', than: 'auth.jwks.maxAgeMs' },
  { path: 'compression.thresholdBytes', relation: 'at most', than: 'limits.maxFrameBytes' },
]

/** The rules that `tree` breaks; one whose settings are not both there is not judged. */
export function brokenRules(tree: Tree, sources: ReadonlyMap<string, string>): Problem[] {
  const problems: Problem[] = []
  for (const { path, relation, than } of RULES) {
    const value = numberAt(tree, path)
    const other = numberAt(tree, than)
    if (value === undefined || other === undefined || holds(value, relation, other)) continue
    const reason = `must be ${relation} ${than}, which is ${other} (${sources.get(than) ?? 'default'})`
    problems.push({
      kind: 'rule',
      path,
      value: String(value),
      source: sources.get(path) ?? 'default',
      reason,
    })
  }
  return problems
}

function holds(value: number, relation: Relation, other: number): boolean {
  if (relation === 'more than') return value > other
  return relation === 'at least' ? value >= other : value <= other
}

function numberAt(tree: Tree, path: string): number | undefined {
  let at: unknown = tree
  for (const name of path.split('.')) at = isTree(at) ? at[name] : undefined
  return typeof at === 'number' ? at : undefined
}
