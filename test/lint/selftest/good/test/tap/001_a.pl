ok(poll(1), 'sleeps are for the weak');
