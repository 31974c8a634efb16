import type { BrowserContext, Page } from 'playwright-core'
import { inPage, openPage } from './chromium.ts'
import type { Stage } from './public-api.ts'
import type { Target } from './target.ts'

export interface RescueOptions {
  context: BrowserContext
  /** Where pages come from. */
  origin: string
  stage: Omit<Stage, 'TunnelService'>
  target: Target
  /** How often the tab that has the queue is killed. */
  kills: number
  /** Requests in all. */
  requests: number
}

export interface Rescued {
  kills: number
  /** From each kill until another tab had the queue and took requests, in ms. */
  takeoverMs: number[]
  /** Requests that were executed, and how often all of them were. */
  executed: number
  executions: number
  unknown: number
  /** What must not be. */
  wrong: string[]
}

interface Asked {
  id: string
  tab: Page
  isIdempotent: boolean
  isAccepted: boolean
  /** 'answered', or an error's code. */
  outcome: string | undefined
}

const TABS = 5
const QUEUE = 'tabs'

/** Five tabs share a queue; the one that has it is killed again and again, in the middle of its work. */
export async function rescue({
  context,
  origin,
  stage,
  target,
  kills,
  requests,
}: RescueOptions): Promise<Rescued> {
  const asked = new Map<string, Asked>()
  let changed = (): void => {}
  await context.exposeBinding('report', (_source, id: string, what: string) => {
    const request = asked.get(id) as Asked
    if (what === 'accepted') request.isAccepted = true
    else if (request.outcome === undefined) request.outcome = what
    else request.outcome += ` and ${what}`
    changed()
  })

  const lockIds = new Map<Page, string>()
  const openTab = async (): Promise<Page> => {
    const tab = await openPage(context, origin)
    lockIds.set(tab, await inPage(tab, 'ownLockId'))
    await inPage(tab, 'connect', stage, { queue: { dir: QUEUE, persist: 'all' } })
    return tab
  }
  const ownerOf = async (tabs: readonly Page[]): Promise<Page> => {
    const holder = await inPage(tabs[0] as Page, 'holderOf', QUEUE)
    return tabs.find((tab) => lockIds.get(tab) === holder) as Page
  }
  const ask = async (tab: Page, count: number): Promise<void> => {
    const requests = Array.from({ length: count }, () => {
      const id = `request-${asked.size + 1}`
      const request = { id, isIdempotent: asked.size % 2 === 0 }
      asked.set(id, { ...request, tab, isAccepted: false, outcome: undefined })
      return request
    })
    await inPage(tab, 'ask', target.port, requests)
  }

  let tabs = await Promise.all(Array.from({ length: TABS }, openTab))
  const takeoverMs: number[] = []
  for (let kill = 0; kill < kills; kill++) {
    const share = Math.ceil(requests / kills / TABS)
    await Promise.all(tabs.map((tab) => ask(tab, share)))
    const owner = await ownerOf(tabs)
    tabs = tabs.filter((tab) => tab !== owner)
    const witness = tabs[0] as Page
    await inPage(witness, 'watchOwner', QUEUE)
    const devtools = await context.newCDPSession(owner)
    const crashed = new Promise((resolve) => owner.once('crash', resolve))
    const killedAtMs = Date.now()
    void devtools.send('Page.crash').catch(() => {})
    takeoverMs.push((await inPage<number>(witness, 'ownedAtMs')) - killedAtMs)
    await crashed
    await owner.close()
    tabs.push(await openTab())
  }

  const living = [...asked.values()].filter(({ tab }) => tabs.includes(tab))
  await new Promise<void>((resolve) => {
    changed = () => {
      if (living.every(({ outcome }) => outcome !== undefined)) resolve()
    }
    changed()
  })
  // What the killed tabs had asked for.
  while ((await inPage<number>(tabs[0] as Page, 'onDisk', QUEUE)) > 0)
    await new Promise((next) => setTimeout(next, 20))
  await Promise.all(tabs.map((tab) => tab.close()))
  return { ...judged([...asked.values()], living, target), kills, takeoverMs }
}

function judged(
  all: readonly Asked[],
  living: readonly Asked[],
  { counts }: Target,
): Pick<Rescued, 'executed' | 'executions' | 'unknown' | 'wrong'> {
  const wrong: string[] = []
  for (const request of all) {
    const { id, isIdempotent, isAccepted, outcome } = request
    const count = counts.get(id) ?? 0
    const say = (what: string) =>
      wrong.push(`${id} (${isIdempotent ? 'idempotent, ' : ''}${outcome}): ${what}`)
    if (!isIdempotent && count > 1) say(`executed ${count} times`)
    if (outcome === 'answered' && count === 0) say('answered, and not executed')
    if (isAccepted && isIdempotent && count === 0) say('accepted, and not executed')
    const mayBe = isIdempotent ? ['answered'] : ['answered', 'OUTCOME_UNKNOWN']
    if (living.includes(request) && !mayBe.includes(outcome ?? '')) say('is no outcome for it')
  }
  const known = all.map(({ id }) => counts.get(id) ?? 0)
  return {
    executed: known.filter((count) => count > 0).length,
    executions: known.reduce((sum, count) => sum + count, 0),
    unknown: all.filter(({ outcome }) => outcome === 'OUTCOME_UNKNOWN').length,
    wrong,
  }
}
