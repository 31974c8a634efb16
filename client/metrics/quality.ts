/** How good the link is, as a person would say it. */
export type Quality = 'offline' | 'poor' | 'fair' | 'good' | 'excellent'

export interface QualityInputs {
  online: boolean
  /** Round trip of the last heartbeat, in ms; 0 before the first. */
  rttMs: number
  jitterMs: number
  /** Requests of the window that were answered, and that the way failed. */
  answered: number
  failed: number
  /** Since the link was lost the last time, in ms. */
  sinceLossMs: number
}

/** A measure is excellent, good or fair up to these marks, and poor beyond. */
const RTT_MS = [50, 150, 500]
const JITTER_MS = [20, 50, 150]
const FAILED_SHARE = [0.01, 0.05, 0.2]
/** Fewer failures than this are an accident. */
const LEAST_FAILURES = 2
/** After a loss a link is poor for the first of these, and fair at best until the second is over, in ms. */
const POOR_MS = 30_000
const FAIR_MS = 120_000

const GRADES: readonly Quality[] = ['excellent', 'good', 'fair', 'poor']

const gradeOf = (value: number, marks: readonly number[]): number => {
  const grade = marks.findIndex((mark) => value <= mark)
  return grade === -1 ? marks.length : grade
}

/** The worst of what is measured; docs/API.md has the marks. */
export function qualityOf({
  online,
  rttMs,
  jitterMs,
  answered,
  failed,
  sinceLossMs,
}: QualityInputs): Quality {
  if (!online) return 'offline'
  const failedShare = failed < LEAST_FAILURES ? 0 : failed / (answered + failed)
  const lossGrade = sinceLossMs < POOR_MS ? 3 : sinceLossMs < FAIR_MS ? 2 : 0
  const grades = [
    gradeOf(rttMs, RTT_MS),
    gradeOf(jitterMs, JITTER_MS),
    gradeOf(failedShare, FAILED_SHARE),
    lossGrade,
  ]
  return GRADES[Math.max(...grades)]!
}
