/** Return a user's arm, null for a user outside; `arms` are names and shares, of 10,000 in all. */
export function armOf(
  salt: string,
  experiment: string,
  userId: string,
  traffic: number,
  arms: readonly (readonly [arm: string, share: number])[],
): string | null;
